// A device in a Web Worker. The page sends {start}, {examples} and {input}; the worker says what happens.

import { Client, ProgramWork, Refused, runDevice } from "./device.js";
import { probabilities, programFrom } from "./programs.js";

let work = null;
let newest = null; // {config, params} of the last model

const say = (kind, more = {}) => postMessage({ kind, ...more });

self.addEventListener("message", ({ data }) => {
  if (data.start) run(data.start);
  if (data.examples && work) work.examples = data.examples;
  if (data.input && newest) {
    const found = probabilities(programFrom(newest.config), newest.params, data.input);
    say("guess", { probabilities: found, version: newest.version });
  }
});

async function run({ base, token, device, examples }) {
  work = new ProgramWork(examples, (fraction) => say("progress", { fraction }));
  // Two tabs of one device would do the same tasks twice. A lock is released when its tab closes.
  if (!navigator.locks) return train(base, token);
  await navigator.locks.request(`flare-edge ${device}`, { ifAvailable: true }, (lock) =>
    lock ? train(base, token) : say("elsewhere"),
  );
}

async function train(base, token) {
  const client = new Client(base, token, { onTrouble: (message, pauseMs) => say("trouble", { message, pauseMs }) });
  try {
    await runDevice(client, work, { onEvent: tell });
    say("over");
  } catch (error) {
    if (error instanceof Refused && [401, 403].includes(error.status)) say("refused", { message: error.message });
    else say("failed", { message: error.message });
  }
}

function tell({ kind, task, params, answer }) {
  if (kind === "task") {
    newest = { config: task.config, params, version: task.version };
    say("task", { task: { kind: task.kind, version: task.version } });
  } else if (kind === "answered") {
    say("answered", { task: { kind: task.kind, version: task.version }, metrics: answer.metrics });
  } else {
    say(kind);
  }
}
