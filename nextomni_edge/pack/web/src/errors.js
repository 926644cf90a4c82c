/** A sentence for the user: a setting or an input that the model does not take. */
export class NextOmniError extends Error {
  name = "NextOmniError";
}

/** A component gave NaN or infinity. */
export class NonFiniteError extends NextOmniError {
  name = "NonFiniteError";
}
