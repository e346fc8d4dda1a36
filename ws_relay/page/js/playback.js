// Playing the past: on from a moment at some speed, or from event to event.

import { stepFrom } from "./moment.js";

const FRAME_MS = 60; // between two moments that are shown: the past need not be smoother than that

/** Moves `ui.moment` by way of `go(moment or null for live)`; `view` knows where the past begins and ends. */
export class Playback {
  constructor({ view, ui, go }) {
    Object.assign(this, { view, ui, go, speed: 1 });
  }

  /** Play or pause. What runs and is live is paused; what is over plays from its beginning. */
  toggle() {
    const span = this.view.span();
    if (!span) return;
    if (this.ui.moment == null && this.view.runs()) {
      this.go(Date.now());
      return;
    }
    this.ui.playing = !this.ui.playing;
    this.go(this.ui.moment ?? span[0]);
    if (this.ui.playing) this.#later(performance.now());
  }

  /** One event on (1) or back (-1); behind the last one is live. */
  step(direction) {
    this.ui.playing = false;
    const next = stepFrom(this.view.moments(), this.ui.moment ?? Date.now(), direction);
    if (next != null) this.go(next);
    else if (direction > 0) this.go(null);
  }

  #later(before) {
    setTimeout(() => requestAnimationFrame(() => this.#playOn(before)), FRAME_MS);
  }

  #playOn(before) {
    if (!this.ui.playing || this.ui.moment == null) return;
    const now = performance.now();
    const [, end] = this.view.span() ?? [0, 0];
    const next = this.ui.moment + (now - before) * this.speed;
    this.go(next < end ? next : null);
    if (next < end) this.#later(now);
  }
}
