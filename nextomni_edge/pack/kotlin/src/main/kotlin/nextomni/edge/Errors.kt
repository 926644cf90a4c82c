package nextomni.edge

/** A sentence for the user: a setting, a file or an input that the model does not take. */
open class NextOmniException(message: String) : Exception(message)

/** A component gave NaN or infinity. */
class NonFiniteException(message: String) : NextOmniException(message)
