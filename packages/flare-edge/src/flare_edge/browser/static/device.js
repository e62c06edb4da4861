// A device in JavaScript: join, wait for tasks, train or evaluate, answer. It needs nothing but a browser.
//
//   import { Client, ProgramWork, runDevice } from "/static/device.js";
//   const { token } = await Client.join(location.origin, invitation);
//   await runDevice(new Client(location.origin, token), new ProgramWork(examples));

import { Client, Refused, RunOver, pause } from "./client.js";
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
 *   of {kind: "waiting"}, {kind: "task", task, params}, {kind: "answered", task, answer} and, if the gateway had withdrawn
 *   the task meanwhile, {kind: "late", task}.
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
    const answer = await answered(client, work, task, filters, onEvent);
    if (answer === null) onEvent({ kind: "late", task });
    else onEvent({ kind: "answered", task, answer });
    if (task.config.rest_s > 0) await pause(1000 * task.config.rest_s, client.signal);
  }
}

/** Return what was sent for a task; null if the gateway has withdrawn it meanwhile. */
async function answered(client, work, task, filters, onEvent) {
  try {
    const params = await client.model(task);
    onEvent({ kind: "task", task, params });
    const answer = task.kind === "train" ? work.train(params, task) : work.evaluate(params, task);
    for (const each of [...filters, ...filtersFrom(task.config)]) {
      if (answer.update) answer.update = each(answer.update);
    }
    if (answer.update) await client.sendUpdate(task.ticket, answer.update, answer);
    else await client.sendMetrics(task.ticket, answer);
    return answer;
  } catch (error) {
    if (isWithdrawn(error) || error instanceof RunOver) return null;
    if (!(error instanceof Refused && [401, 403].includes(error.status))) await giveUp(client, task, error);
    throw error;
  }
}

/** Tell the gateway that a task failed here. */
async function giveUp(client, task, error) {
  try {
    await client.sendError(task.ticket, String(error.message));
  } catch (refusal) {
    if (!isWithdrawn(refusal)) throw refusal;
  }
}

/** The version is no longer kept, the task was withdrawn, or it is done. */
function isWithdrawn(error) {
  return error instanceof Refused && [404, 409, 410].includes(error.status);
}
