package nextomni.edge.tokens

import java.util.regex.PatternSyntaxException
import nextomni.edge.NextOmniException
import nextomni.edge.formats.Fields

// GPT-2's words, for a tokenizer.json that names no pattern of its own
private const val GPT2 =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

// What Oniguruma, which `tokenizers` uses, means by these in Unicode. They are written in general
// categories, which the engines of Android and of the desktop's JVM share. Letters in circles are
// Alphabetic, but neither letters nor marks.
private val CLASSES = mapOf(
    's' to "\\t-\\r \\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}" +
        "\\x{205f}\\x{3000}",
    'w' to "\\p{L}\\p{Nl}\\p{M}\\p{Nd}\\p{Pc}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}" +
        "\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}",
    'd' to "\\p{Nd}",
)
private val TOKEN = Regex("\\\\p\\{[^}]*\\}|\\\\.|[\\s\\S]")
private val CASELESS = Regex("\\(\\?i:([^()]*)\\)")

/** The pattern by which a tokenizer.json splits a text into words: bytes behind a split. */
internal fun splitPattern(preTokenizer: Fields): Regex {
    val many = preTokenizer.listOrNull("pretokenizers") != null
    val first = if (many) preTokenizer.objects("pretokenizers").firstOrNull() else preTokenizer
    val own = first?.fieldsOrNull("pattern")?.string("Regex")
    val source = own ?: GPT2.takeIf { first?.boolean("use_regex", false) == true }
        ?: throw NextOmniException(
            "tokenizer.json: expected byte-level BPE behind a split by a pattern",
        )
    return try {
        Regex(translated(source))
    } catch (error: PatternSyntaxException) {
        throw NextOmniException("tokenizer.json: the pattern $source is not supported (${error.message})")
    }
}

/** The same pattern with classes and groups that mean the same in every engine. */
private fun translated(source: String): String {
    val found = StringBuilder()
    var inside = false
    for (match in TOKEN.findAll(caseless(source))) {
        val token = match.value
        val name = if (token.length == 2 && token[0] == '\\') token[1] else ' '
        val members = CLASSES[name.lowercaseChar()]
        if (token == "[" || token == "]") inside = token == "["
        found.append(
            when {
                members == null -> token
                name.isLowerCase() -> if (inside) members else "[$members]"
                !inside -> "[^$members]"
                else -> throw NextOmniException(
                    "tokenizer.json: the pattern $source has \\$name inside brackets, which is " +
                        "not supported",
                )
            },
        )
    }
    return found.toString()
}

/** (?i:…) written out, letter by letter. */
private fun caseless(source: String): String = CASELESS.replace(source) { match ->
    val letters = match.groupValues[1].map { letter ->
        if (letter in 'a'..'z' || letter in 'A'..'Z') {
            "[${letter.lowercaseChar()}${letter.uppercaseChar()}]"
        } else {
            "$letter"
        }
    }
    "(?:${letters.joinToString("")})"
}
