/**
 * The datum that crosses layers: a sequence of segments, each of one modality, given or to be
 * generated. (tokens/sequence.py)
 */

/** @typedef {import("../config.js").Modality} Modality */

/**
 * `tokens`: ids of `codes` sub-codes each, by rows (codes is 1 for text). Frozen segments are
 * given.
 */
export class Segment {
  /**
   * @param {Modality} modality
   * @param {ArrayLike<number>} tokens
   * @param {number} codes
   * @param {boolean} frozen
   */
  constructor(modality, tokens, codes = 1, frozen = true) {
    this.modality = modality;
    this.tokens = Int32Array.from(tokens);
    this.codes = codes;
    this.frozen = frozen;
  }

  /** Its number of positions. */
  get length() {
    return this.tokens.length / this.codes;
  }

  /** The same segment with other tokens. @param {ArrayLike<number>} tokens */
  holding(tokens) {
    return new Segment(this.modality, tokens, this.codes, this.frozen);
  }
}

/** Segments in order; positions count 0, 1, 2, … through all of them. */
export class Sequence {
  /** @param {Segment[]} segments */
  constructor(segments) {
    this.segments = segments;
  }

  get length() {
    return this.segments.reduce((found, segment) => found + segment.length, 0);
  }

  /** Indices of the segments to generate. */
  get generated() {
    return [...this.segments.keys()].filter((index) => !this.segments[index].frozen);
  }

  /** Positions before the first generated one. */
  get promptLength() {
    return new Sequence(this.segments.slice(0, this.generated[0])).length;
  }

  /**
   * (segment, tokens) of each generated segment, which place its noise.
   * @returns {[number, number][]}
   */
  get places() {
    return this.generated.map((index) => [index, this.segments[index].length]);
  }

  /** The position of each generated row. */
  get rows() {
    /** @type {number[]} */
    const found = [];
    let position = 0;
    for (const segment of this.segments) {
      for (let row = 0; row < segment.length; row++, position++)
        if (!segment.frozen) found.push(position);
    }
    return found;
  }

  /**
   * The sequence with its generated segments holding the rows x (R·K,), one segment after another.
   * @param {Int32Array} x
   */
  filled(x) {
    let place = 0;
    return new Sequence(
      this.segments.map((segment) => {
        if (segment.frozen) return segment;
        place += segment.tokens.length;
        return segment.holding(x.subarray(place - segment.tokens.length, place));
      }),
    );
  }
}

/**
 * The guidance branch without its condition: given text becomes the null id, markers of media stay.
 * @param {Sequence} sequence @param {import("./text.js").SpecialTokens} special
 */
export function unconditional(sequence, special) {
  return new Sequence(
    sequence.segments.map((segment) => {
      if (!segment.frozen || segment.modality !== "text") return segment;
      return segment.holding(
        segment.tokens.map((id) => (special.markers.includes(id) ? id : special.null)),
      );
    }),
  );
}
