/**
 * The metric table of one vocabulary and the distances between its symbols. (flow/distance.py,
 * row_cache.py)
 */

const SAME_ROW = 1e-14; // |e_x − e_y|² below this is the rounding of float32 rows
const KEPT_BYTES = 1 << 26; // of distance rows, by the id of x_1

export class MetricTable {
  /** @type {Map<number, Float32Array>} the distances to ids asked for last, the oldest first */
  #kept = new Map();

  /**
   * @param {Float32Array} rows (V, D), L2-normalised here; a zero row stays zero
   * @param {number} vocabulary
   */
  constructor(rows, vocabulary) {
    this.vocabulary = vocabulary;
    this.width = rows.length / vocabulary;
    this.table = new Float32Array(rows.length);
    this.squares = new Float64Array(vocabulary);
    for (let x = 0; x < vocabulary; x++) this.#normalise(rows, x);
  }

  /** @param {Float32Array} rows @param {number} x */
  #normalise(rows, x) {
    const [first, last] = [x * this.width, (x + 1) * this.width];
    let square = 0;
    for (let at = first; at < last; at++) square += rows[at] * rows[at];
    const norm = square > 0 ? Math.sqrt(square) : 1;
    for (let at = first; at < last; at++) {
      this.table[at] = rows[at] / norm;
      this.squares[x] += this.table[at] * this.table[at];
    }
  }

  /** d(x, y) of one pair. @param {number} x @param {number} y */
  between(x, y) {
    let squared = 0;
    for (let at = 0; at < this.width; at++) {
      const difference = this.table[x * this.width + at] - this.table[y * this.width + at];
      squared += difference * difference;
    }
    return squared * squared;
  }

  /** d(x, x_1) = (|e_x − e_x1|²)² for every symbol x, (V,) in [0, 16]. @param {number} x_1 */
  distance(x_1) {
    const known = this.#kept.get(x_1);
    if (known) {
      this.#kept.delete(x_1); // it is the youngest again
      this.#kept.set(x_1, known);
      return known;
    }
    const found = this.#computed(x_1);
    if (this.#kept.size >= KEPT_BYTES / (4 * this.vocabulary)) {
      const [oldest] = this.#kept.keys();
      this.#kept.delete(oldest);
    }
    this.#kept.set(x_1, found);
    return found;
  }

  /** @param {number} x_1 */
  #computed(x_1) {
    const { table, squares, width } = this;
    const found = new Float32Array(this.vocabulary);
    const own = Float64Array.from(table.subarray(x_1 * width, (x_1 + 1) * width));
    for (let x = 0, at = 0; x < found.length; x++) {
      let dot = 0;
      for (let d = 0; d < width; d++, at++) dot += own[d] * table[at];
      const squared = -2 * dot + (squares[x_1] + squares[x]);
      found[x] = squared > SAME_ROW ? squared * squared : 0;
    }
    return found;
  }
}
