// A device in JavaScript: join, wait for tasks, train or evaluate, answer. It needs nothing but a browser.
//
//   import { Client, ProgramWork, runDevice } from "/static/device.js";
//   const { token } = await Client.join(location.origin, invitation);
//   await runDevice(new Client(location.origin, token), new ProgramWork(examples));

import { Client, Refused, RunOver } from "./client.js";
import { clipToNorm, filtersFrom, gaussianNoise } from "./filters.js";
import { difference, evaluate, packed, programFrom, train, trainingFrom } from "./programs.js";

export { Client, Refused, RunOver, clipToNorm, gaussianNoise, packed };

/** Runs the program that a task's configuration names, with the examples given last. */
export class ProgramWork {
  /** @param {{rows: number, inputs: Float32Array, targets: Float32Array}} examples See `packed`. */
  constructor(examples, onProgress = () => {}) {
    this.examples = examples;
    this.onProgress = onProgress;
  }
  train(params, { config, version }) {
    const examples = this.examples;
    const program = programFrom(config);
    const metrics = evaluate(program, params, examples);
    const trained = train(program, params, examples, trainingFrom(config), version, this.onProgress);
    return { numExamples: examples.rows, metrics, update: difference(trained, params) };
  }
  evaluate(params, { config }) {
    return { numExamples: this.examples.rows, metrics: evaluate(programFrom(config), params, this.examples) };
  }
}

/**
 * Do tasks until the run is over.
 * @param {Client} client
 * @param {{train: Function, evaluate: Function}} work
 * @param {object} options `filters` are applied to an update before those of the run's configuration; `onEvent` is told
 *   of {kind: "waiting"}, {kind: "task", task, params} and {kind: "answered", task, answer}.
 * @throws {Refused} The device's token is no longer valid. Or what the work throws, after the gateway was told.
 */
export async function runDevice(client, work, { filters = [], onEvent = () => {} } = {}) {
  let job = null;
  for (;;) {
    onEvent({ kind: "waiting" });
    let task;
    try {
      task = await client.nextTask();
    } catch (error) {
      if (error instanceof RunOver) return;
      throw error;
    }
    if (task === null) continue;
    if (!task.config) task.config = (job ??= await client.job()).config; // left out of a task if it is large
    const params = await client.model(task);
    onEvent({ kind: "task", task, params });
    let answer;
    try {
      answer = task.kind === "train" ? work.train(params, task) : work.evaluate(params, task);
      for (const each of [...filters, ...filtersFrom(task.config)]) {
        if (answer.update) answer.update = each(answer.update);
      }
    } catch (error) {
      await client.sendError(task.ticket, String(error.message));
      throw error;
    }
    if (answer.update) await client.sendUpdate(task.ticket, answer.update, answer);
    else await client.sendMetrics(task.ticket, answer);
    onEvent({ kind: "answered", task, answer });
  }
}
