// The protocol between a device and a gateway, over fetch. See openapi.json of the gateway.

import { read, write } from "./safetensors.js";

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;

/** The run is over. */
export class RunOver extends Error {}

/** The gateway refused a request; `status` is HTTP's, and `code` the gateway's. */
export class Refused extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export class Client {
  /**
   * @param {string} base The gateway's origin, such as https://192.0.2.7:8443.
   * @param {string} token The device's.
   * @param {{signal?: AbortSignal, onTrouble?: (message: string, pauseMs: number) => void}} options
   */
  constructor(base, token, { signal, onTrouble = () => {} } = {}) {
    Object.assign(this, { base, token, signal, onTrouble });
  }

  /**
   * Exchange an invitation for a device's token.
   * @returns {Promise<{device: string, token: string, job: {name: string, description: string, config: object}}>}
   * @throws {Refused} The invitation is unknown, used up or revoked.
   */
  static async join(base, invitation, options = {}) {
    const client = new Client(base, null, options);
    // The same for each attempt: if an answer is lost, the next one is for the same device.
    const request = [...crypto.getRandomValues(new Uint8Array(16))].map((each) => each.toString(16).padStart(2, "0")).join("");
    return (await client.#call("POST", "/v1/devices", { json: { invitation, request } })).json();
  }

  /** Return the run's {name, description, config}. */
  async job() {
    return (await this.#call("GET", "/v1/job")).json();
  }

  /**
   * Wait for a task, and return it; null if there was none for a while.
   * @throws {RunOver}
   */
  async nextTask(waitS = 20) {
    const answer = await this.#call("POST", "/v1/tasks", { json: { wait_s: waitS } });
    return answer.status === 204 ? null : answer.json();
  }

  /** Return the parameters of a task's model. */
  async model(task) {
    return read(await (await this.#call("GET", task.model)).arrayBuffer());
  }

  /** Send what training changed. Returns when the gateway has it on disk. */
  async sendUpdate(ticket, update, { numExamples, metrics }) {
    const metadata = { num_examples: String(numExamples), metrics: JSON.stringify(metrics) };
    await this.#call("POST", `/v1/results/${ticket}`, { body: write(update, metadata), type: "application/safetensors" });
  }

  /** Send what evaluation found. */
  async sendMetrics(ticket, { numExamples, metrics }) {
    await this.#call("POST", `/v1/results/${ticket}`, { json: { num_examples: numExamples, metrics } });
  }

  /** Say that a task failed. */
  async sendError(ticket, message) {
    await this.#call("POST", `/v1/results/${ticket}`, { json: { error: message } });
  }

  /** Leave the run; the token is of no more use. */
  async leave() {
    await this.#call("DELETE", "/v1/devices/me");
  }

  /** Send a request until it is answered, and not with "later". */
  async #call(method, path, { json, body, type } = {}) {
    const headers = {};
    if (this.token) headers.Authorization = `Bearer ${this.token}`;
    if (json !== undefined) [body, type] = [JSON.stringify(json), "application/json"];
    if (type) headers["Content-Type"] = type;
    for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS)) {
      let answer = null;
      try {
        answer = await fetch(this.base + path, { method, headers, body, signal: this.signal });
        if (answer.ok) return await whole(answer);
      } catch (error) {
        if (this.signal?.aborted) throw error;
      }
      if (answer && ![408, 429].includes(answer.status) && answer.status < 500) throw await refusal(answer);
      const wanted = 1000 * Number(answer?.headers.get("Retry-After") ?? 0) || 0;
      const jittered = Math.max(wanted, pauseMs * (0.5 + Math.random() / 2));
      this.onTrouble(answer ? `the gateway is busy (${answer.status})` : "the gateway cannot be reached", jittered);
      await pause(jittered, this.signal);
    }
  }
}

/** Return an answer whose body has come as a whole: a connection may break in its middle. */
async function whole(answer) {
  if (answer.status === 204) return answer;
  return new Response(await answer.arrayBuffer(), { status: answer.status, headers: answer.headers });
}

async function refusal(answer) {
  const said = await answer.json().catch(() => ({})); // a proxy's answer may be no JSON
  const { error = "refused", message = `the gateway answered ${answer.status}` } = said;
  return error === "over" ? new RunOver(message) : new Refused(answer.status, error, message);
}

/** Wait, but not longer than until the device is online again, or the signal. */
export function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const end = (settle) => () => {
      clearTimeout(timer);
      globalThis.removeEventListener?.("online", again);
      signal?.removeEventListener("abort", stop);
      settle(signal?.reason);
    };
    const again = end(resolve);
    const stop = end(reject);
    const timer = setTimeout(again, ms);
    globalThis.addEventListener?.("online", again);
    signal?.addEventListener("abort", stop);
    if (signal?.aborted) stop();
  });
}
