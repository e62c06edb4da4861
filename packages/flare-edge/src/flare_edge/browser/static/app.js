// The page: consent, examples, and the progress of the worker, which trains.

import { plot } from "./curve.js";
import { predictsValues, readCsv } from "./data.js";
import { Client, Refused, packed } from "./device.js";
import { Pad, paintImage } from "./drawing.js";
import { programFrom } from "./programs.js";
import * as store from "./store.js";

const $ = (id) => document.getElementById(id);
const show = (id, isShown = true) => ($(id).hidden = !isShown);

let place = null; // see store.place
let examples = [];
let worker = null;
let pad = null;
let done = 0;
let losses = [];

begin().catch(complain);

async function begin() {
  const [invitation] = location.hash.slice(1).split("."); // a certificate's digest may follow, for other devices
  place = store.place();
  if (place && invitation && place.invitation !== invitation) place = null; // of another run
  if (place) {
    try {
      place.job = await new Client(location.origin, place.token, { onTrouble: trouble }).job(); // it may be a new run's
      examples = await store.examples();
      await enter();
      if (place.isRunning && examples.length) start();
      return;
    } catch (error) {
      if (!isUnknown(error)) throw error;
      await store.forget();
      complain("The gateway does not know this device any more. You can join again with an invitation.");
    }
  }
  show(invitation ? "consent" : "uninvited");
  $("agree").addEventListener("click", () => join(invitation).catch(complain));
}

async function join(invitation) {
  $("agree").disabled = true;
  complain(null);
  try {
    const { device, token, job } = await Client.join(location.origin, invitation, { onTrouble: trouble });
    await store.forget(); // an earlier run's
    examples = [];
    place = { invitation, device, token, job, isRunning: false };
    store.keepPlace(place);
  } finally {
    $("agree").disabled = false;
  }
  show("consent", false);
  await enter();
  $("data-title").tabIndex = -1;
  $("data-title").focus();
}

/** Show the run, or leave it at once if its program is not for browsers. */
async function enter() {
  complain(null);
  try {
    programFrom(place.job.config);
  } catch (error) {
    await goodbye();
    throw new Error(`A browser cannot take part in this run: ${error.message}. You have not joined.`);
  }
  showRun();
}

// The run: examples on one side, training on the other

function showRun() {
  const { job } = place;
  const program = programFrom(job.config);
  $("title").textContent = document.title = job.name || "Train together";
  $("description").textContent = job.description ?? "";
  show("description", Boolean(job.description));
  if (job.config.data?.kind === "image") showPad(job.config.data);
  const { columns = [], target = null, labels = [], scale = 1 } = job.config.data ?? {};
  const inputs = columns.length ? `the columns ${columns.join(", ")}` : `${program.layers[0]} numbers`;
  const range = scale === 1 ? "" : ` from 0 to ${scale}`;
  const wanted = predictsValues(job.config) ? "the value to predict" : labels.length ? `one of ${labels.join(", ")}` : "its class";
  $("file-help").textContent =
    `A line for each example: ${inputs}${range}, ${target === null ? "then" : `and in the column ${target}`} ${wanted}.`;
  $("accuracy").parentElement.hidden = predictsValues(job.config);
  $("file").addEventListener("change", () => addFile().catch(complain));
  $("forget").addEventListener("click", () => change([]).catch(complain));
  $("start").addEventListener("click", start);
  $("leave").addEventListener("click", () => leave().catch(complain));
  show("joined");
  showExamples();
  say(examples.length ? "Ready." : "Add examples first.");
}

function showPad({ width, height, labels }) {
  pad = new Pad($("pad"), { width, height }, () => {
    const image = pad.image();
    paintImage($("preview"), image, { width, height });
    for (const button of $("labels").children) button.disabled = !image;
    $("guess").textContent = "";
    if (image) worker?.postMessage({ input: image });
  });
  labels.forEach((label, target) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = label;
    button.setAttribute("aria-label", `Add the drawing as ${label}`);
    button.addEventListener("click", () => {
      change([...examples, { input: pad.image(), target }]).catch(complain);
      pad.clear();
    });
    $("labels").append(button);
  });
  $("wanted").textContent = labels.join(", ");
  $("clear").addEventListener("click", () => pad.clear());
  pad.clear();
  show("drawing");
}

async function addFile() {
  const [file] = $("file").files;
  if (!file) return;
  complain(null);
  const added = readCsv(await file.text(), place.job.config);
  const { layers } = programFrom(place.job.config);
  if (added[0].input.length !== layers[0]) {
    throw new Error(`The file has ${added[0].input.length} inputs; the model takes ${layers[0]}.`);
  }
  if (!predictsValues(place.job.config) && added.some(({ target }) => target >= layers.at(-1))) {
    throw new Error(`Classes are 0 to ${layers.at(-1) - 1}; the file has others.`);
  }
  await change([...examples, ...added]);
  $("file").value = "";
}

/** Take other examples; they count once they are kept, so that a reload loses none that was shown. */
async function change(list) {
  examples = list;
  await store.keepExamples(list);
  showExamples();
  if (list.length) worker?.postMessage({ examples: packed(list) });
  else stop("All examples are removed. Add some to go on.");
}

function showExamples() {
  const labels = place.job.config.data?.labels ?? [];
  const counts = labels.map((label, i) => [label, examples.filter(({ target }) => target === i).length]);
  const each = counts.filter(([, count]) => count).map(([label, count]) => `${label}: ${count}`);
  const number = examples.length === 1 ? "1 example" : `${examples.length} examples`;
  $("count").textContent = each.length && each.length <= 20 ? `${number} (${each.join(", ")})` : number;
  $("start").disabled = !examples.length || worker !== null;
  show("forget", examples.length > 0);
}

// Training

function start() {
  complain(null);
  worker = new Worker("/static/worker.js", { type: "module" });
  worker.addEventListener("message", ({ data }) => hear(data));
  worker.addEventListener("error", (event) => stop(`The training stopped: ${event.message ?? "its script could not be loaded"}`));
  worker.postMessage({
    start: { base: location.origin, token: place.token, device: place.device, examples: packed(examples) },
  });
  keepRunning(true);
  say("Connecting …");
  show("start", false);
}

function hear({ kind, task, metrics, fraction, message, pauseMs, probabilities, version }) {
  if (kind === "waiting") say("Waiting for a task. You may leave this tab in the background.");
  else if (kind === "task") begun(task);
  else if (kind === "progress") $("progress").value = fraction;
  else if (kind === "answered") answered(task, metrics);
  else if (kind === "late") show("progress", false);
  else if (kind === "guess") guess(probabilities, version);
  else if (kind === "trouble") trouble(message, pauseMs);
  else if (kind === "over") end("The run is over. Thank you: the model is trained, and your examples were never sent.");
  else if (kind === "elsewhere") stop("Another tab of this browser is training already. Close it, or go on there.");
  else if (kind === "refused") end("The gateway does not know this device any more. Leave, and open a new invitation.");
  else stop(`The training stopped: ${message}.`);
}

function begun({ kind, version }) {
  say(kind === "train" ? `Training version ${version} on your examples …` : `Testing version ${version} on your examples …`);
  $("version").textContent = version;
  $("progress").value = 0;
  show("progress", kind === "train");
}

function answered({ version }, { loss, accuracy }) {
  $("done").textContent = ++done;
  $("accuracy").textContent = accuracy === undefined ? "–" : `${(100 * accuracy).toFixed(1)}\u00a0%`;
  losses = [...losses.filter(([each]) => each !== version), [version, loss]].sort(([a], [b]) => a - b);
  plot($("plot"), losses);
  show("curve");
  show("progress", false);
  say("Done. Resting until the next task.");
  const image = pad?.image();
  if (image) worker.postMessage({ input: image });
}

function guess(probabilities, version) {
  const highest = probabilities.indexOf(Math.max(...probabilities));
  const label = place.job.config.data.labels[highest];
  $("guess").textContent = `Version ${version} reads: ${label} (${Math.round(100 * probabilities[highest])}\u00a0%)`;
}

/** Stop training. */
function stop(message) {
  worker?.terminate();
  worker = null;
  keepRunning(false);
  show("progress", false);
  show("start");
  showExamples();
  say(message);
}

/** Say that there is nothing more to train; the worker still reads drawings. */
function end(message) {
  keepRunning(false);
  show("progress", false);
  say(message);
}

async function leave() {
  stop("Leaving …");
  show("start", false);
  $("leave").disabled = true;
  await goodbye();
  show("joined", false);
  complain("You have left. Your examples are removed from this browser.");
  $("alert").tabIndex = -1;
  $("alert").focus();
}

/** Tell the gateway, and remove everything that is kept. */
async function goodbye() {
  try {
    await new Client(location.origin, place.token, { signal: AbortSignal.timeout(10_000) }).leave();
  } catch (error) {
    // A gateway that is gone, or that has forgotten this device, has nothing left to be told.
    if (!isUnknown(error) && error.name !== "TimeoutError") throw error;
  }
  await store.forget();
}

function isUnknown(error) {
  return error instanceof Refused && [401, 403].includes(error.status);
}

function keepRunning(isRunning) {
  place = { ...place, isRunning };
  store.keepPlace(place);
}

// What the page says

function say(text) {
  $("status").textContent = text;
}

function trouble(message, pauseMs) {
  const text = `Trying again in ${Math.ceil(pauseMs / 1000)} s: ${message}.`;
  if (worker) say(text);
  else complain(text);
}

function complain(error) {
  $("alert").textContent = error === null ? "" : error.message ?? error;
  show("alert", error !== null);
}
