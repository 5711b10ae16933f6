"use strict";
/* What the page knows, and how it asks the server. */

const state = {
  info: null, // what the server said when the page was loaded
  checkpoint: undefined, // the one that is shown
  z: [], // the pinned code
  hover: null, // the code under the pointer, null elsewhere
  label: 0,
  ends: [null, null], // codes A and B
  source: null, // of the encoded picture: {drawing} or {index}
  encoded: null, // the server's answer about it
};

const errors = new Map(); // request → what the model said to it

/** Send a request and return the answer; null, with the error on the page, if there is none. */
async function ask(name, request) {
  let answer = null;
  try {
    const response = await fetch(name, {
      method: "POST", headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ checkpoint: state.checkpoint, ...request }),
    });
    answer = await response.json();
    errors.delete(name);
    if (answer.error) errors.set(name, answer.error);
    if (answer.error && answer.submission) byId("names").textContent = `the code is that of ${answer.submission}`;
  } catch {
    errors.set(name, "The server does not answer: start explore.py again, and open the address that it prints.");
  }
  byId("error").textContent = [...new Set(errors.values())].join("\n");
  byId("error").hidden = errors.size === 0;
  return answer && !answer.error ? answer : null;
}

/** Sends one request after the other; of those that come meanwhile only the newest is kept. */
class Newest {
  constructor(name, show) {
    Object.assign(this, { name, show, next: null, busy: false });
  }

  async send(request, context) {
    this.next = [request, context];
    if (this.busy) return;
    this.busy = true;
    while (this.next) {
      const [current, given] = this.next;
      this.next = null;
      const answer = await ask(this.name, current);
      if (answer) this.show(answer, given);
    }
    this.busy = false;
  }
}

/** Return a function that calls `action` once its own calls have stopped for so many milliseconds. */
function later(milliseconds, action) {
  let timer;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(action, milliseconds, ...values);
  };
}
