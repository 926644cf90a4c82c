import assert from "node:assert/strict";
import { test } from "node:test";
import { close, flat, source, vectors } from "./vectors.mjs";

const { Noise } = await source("flow/noise.js");
const { MetricSchedule, RISES } = await source("flow/schedule.js");
const { MetricPath } = await source("flow/metric.js");
const { MixturePath, MixtureSchedule } = await source("flow/mixture.js");
const { largest, sampleX1 } = await source("flow/sampling.js");
const { guided } = await source("flow/guidance.js");
const { uniformId } = await source("flow/arrays.js");

test("noise is Python's to the last bit", () => {
  for (const { seed, segment, step, use, positions, codes, uniform, start } of vectors(
    "noise.json",
  )) {
    const found = new Noise(seed).uniform(segment, step, use, positions, codes);
    assert.deepEqual([...found], flat(uniform));
    assert.deepEqual(
      Array.from(new Noise(seed).uniform(segment, 0, 0, positions, codes), (u) =>
        uniformId(u, 1000),
      ),
      flat(start),
    );
  }
});

test("more positions and symbols never change a value", () => {
  const noise = new Noise(5);
  assert.deepEqual([...noise.uniform(1, 2, 3, 9)].slice(0, 4), [...noise.uniform(1, 2, 3, 4)]);
  assert.deepEqual([...noise.symbols(1, 2, 4, 0, 6)], [...noise.uniform(1, 2, 4, 6)]);
});

test("a seed outside 0 to 2^64 − 1 is refused in one sentence", () => {
  for (const seed of [-1, 2n ** 64n, 1.5, "x", NaN]) {
    assert.throws(() => new Noise(seed), {
      name: "NextOmniError",
      message: `seed is ${seed}, expected 0 to 2**64 - 1`,
    });
  }
});

test("schedules and rises", () => {
  for (const { c, a, t, h, beta, derivative, ...rises } of vectors("schedule.json")) {
    const schedule = new MetricSchedule(c, a);
    assert.ok(close(schedule.beta(t), beta) && close(schedule.derivative(t), derivative));
    for (const rule of ["euler", "corrected"]) {
      const found = RISES[rule](schedule, t, h);
      assert.ok(
        close(found.beta, rises[rule][0]) && close(found.rise, rises[rule][1]),
        `${rule} at ${t}`,
      );
    }
  }
});

test("distances and steps of the metric path", () => {
  const { table, distance, steps } = vectors("steps.json");
  const path = new MetricPath(
    Float32Array.from(flat(table)),
    table.length,
    new MetricSchedule(3, 0.9),
  );
  path.metric
    .distance(3)
    .forEach((found, x) =>
      assert.ok(Math.abs(found - distance[x]) <= 1e-6 * Math.max(1, distance[x])),
    );
  let jumps = 0;
  for (const { stepper, t, h, from, toward, jump, target, next } of steps) {
    path.rule = stepper;
    const found = from.map((x_t, row) =>
      path.step(x_t, toward[row], t, h, jump[row], target[row], false),
    );
    assert.deepEqual(found, next, `${stepper} at ${t}`);
    jumps += found.filter((x, row) => x !== from[row]).length;
  }
  assert.ok(jumps > 20);
});

test("a row of the mixture path leaves the mask with the share of κ that is left, and stays", () => {
  const path = new MixturePath(8, new MixtureSchedule("linear"), 8);
  assert.equal(path.start(0.3), 8);
  assert.ok(close(path.probability(0.5, 0.25), 0.5));
  assert.equal(path.step(8, 3, 0.5, 0.25, 0.49, 0, false), 3);
  assert.equal(path.step(8, 3, 0.5, 0.25, 0.51, 0, false), 8);
  assert.equal(path.step(2, 3, 0.5, 0.25, 0, 0, true), 2);
  assert.equal(path.step(8, 3, 0.5, 0.25, 0.99, 0, true), 3);
  assert.ok(close(new MixtureSchedule("shifted", 0.5).kappa(0.5), 1 / 3));
});

test("draws of x_1", () => {
  for (const { temperature, topK: top_k, topP: top_p, logits, uniform, x1 } of vectors(
    "sampling.json",
  )) {
    const found = logits.map((row, at) =>
      sampleX1(Float32Array.from(row), uniform[at], { temperature, top_k, top_p }),
    );
    assert.deepEqual(found, x1);
  }
});

test("guidance is (1+s)·c − s·u in float32", () => {
  const found = guided([Float32Array.of(1.1, 2), Float32Array.of(0.3, -1)], [1.5, 0]);
  const own = (c, u) =>
    Math.fround(Math.fround(2.5 * Math.fround(c)) - Math.fround(1.5 * Math.fround(u)));
  assert.deepEqual([...found], [own(1.1, 0.3), own(2, -1)]);
});

test("the largest values are those of a sort, among equals too", () => {
  const noise = new Noise(9);
  for (let length = 1; length < 60; length++) {
    const values = Float32Array.from(noise.uniform(0, length, 0, length), (u) =>
      Math.floor(u * 20),
    );
    for (const count of [1, 2, 5, length]) {
      const expected = [...values].sort((left, right) => right - left).slice(0, count);
      assert.deepEqual([...largest(values, Math.min(count, length))], expected);
    }
  }
});
