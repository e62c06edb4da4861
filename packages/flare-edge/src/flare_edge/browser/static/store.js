// What the page keeps in this browser: the device's place in a run (localStorage) and its examples (IndexedDB).

const PLACE = "flare-edge";

/** Return {invitation, device, token, job, isRunning}, or null. */
export function place() {
  return JSON.parse(localStorage.getItem(PLACE) ?? "null");
}

export function keepPlace(value) {
  localStorage.setItem(PLACE, JSON.stringify(value));
}

/** Return the examples that were kept, a list. */
export async function examples() {
  return (await inStore("readonly", (store) => store.get(PLACE))) ?? [];
}

export async function keepExamples(list) {
  await inStore("readwrite", (store) => store.put(list, PLACE));
}

/** Remove everything. */
export async function forget() {
  localStorage.removeItem(PLACE);
  await inStore("readwrite", (store) => store.clear());
}

function inStore(mode, action) {
  return new Promise((resolve, reject) => {
    const opened = indexedDB.open(PLACE, 1);
    opened.onupgradeneeded = () => opened.result.createObjectStore("examples");
    opened.onerror = () => reject(opened.error);
    opened.onsuccess = () => {
      const transaction = opened.result.transaction("examples", mode);
      const request = action(transaction.objectStore("examples"));
      transaction.oncomplete = () => {
        opened.result.close();
        resolve(request.result);
      };
      transaction.onabort = transaction.onerror = () => reject(transaction.error);
    };
  });
}
