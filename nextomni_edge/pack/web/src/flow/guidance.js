/**
 * Classifier-free guidance: one set of logits from a conditional and unconditional branches.
 * (flow/guidance.py)
 */

/**
 * (1+s)·conditional − s·unconditional, and s_j·(conditional − unconditional_j) of each further
 * branch, rounded to float32 at each operation as numpy does.
 * @param {Float32Array[]} branches the conditional one first
 * @param {number[]} scales one for each other branch
 */
export function guided(branches, scales) {
  const [conditional, unconditional] = branches;
  const [own, other] = [Math.fround(1 + scales[0]), Math.fround(scales[0])];
  const found = new Float32Array(conditional.length);
  for (let at = 0; at < found.length; at++) {
    found[at] = Math.fround(own * conditional[at]) - Math.fround(other * unconditional[at]);
  }
  for (let branch = 2; branch < branches.length; branch++) {
    const [more, scale] = [branches[branch], Math.fround(scales[branch - 1])];
    for (let at = 0; at < found.length; at++) {
      found[at] += Math.fround(scale * Math.fround(conditional[at] - more[at]));
    }
  }
  return found;
}
