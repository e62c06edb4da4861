// A pad to draw on. A drawing is kept as strokes, and is scaled to fill the image that a model sees: each of its pixels
// is the share of ink in 4 x 4 points, as in the handwritten digits of the UCI repository.

const FINE = 4; // points in a pixel, each way
const PEN = 1.9; // half of its width, in points

export class Pad {
  /** @param {HTMLCanvasElement} canvas @param {() => void} onChange */
  constructor(canvas, { width, height }, onChange) {
    Object.assign(this, { canvas, width, height, onChange, strokes: [], cursor: null, isDown: false });
    canvas.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      canvas.setPointerCapture(event.pointerId);
      this.cursor = null;
      this.strokes.push([this.#place(event)]);
      this.#changed();
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!canvas.hasPointerCapture(event.pointerId)) return;
      for (const each of event.getCoalescedEvents?.() ?? [event]) this.strokes.at(-1).push(this.#place(each));
      this.#changed();
    });
    canvas.addEventListener("keydown", (event) => this.#key(event));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.paint());
    this.paint();
  }

  clear() {
    this.strokes = [];
    this.isDown = false;
    this.#changed();
  }

  /** Return the image, row by row, from 0 to 1; null if nothing is drawn. */
  image() {
    if (!this.strokes.length) return null;
    const points = this.#fitted();
    const [columns, rows] = [this.width * FINE, this.height * FINE];
    const image = new Float32Array(this.width * this.height);
    for (let y = 0; y < rows; y++) {
      for (let x = 0; x < columns; x++) {
        const inked = points.some((stroke) => distance(stroke, x + 0.5, y + 0.5) <= PEN);
        image[Math.floor(y / FINE) * this.width + Math.floor(x / FINE)] += inked / (FINE * FINE);
      }
    }
    return image;
  }

  /** Draw the strokes on the canvas. */
  paint() {
    const { canvas } = this;
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.strokeStyle = context.fillStyle = getComputedStyle(canvas).color;
    context.lineCap = context.lineJoin = "round";
    context.lineWidth = canvas.width / 12;
    for (const stroke of this.strokes) {
      context.beginPath();
      stroke.forEach(([x, y], i) => context[i ? "lineTo" : "moveTo"](x * canvas.width, y * canvas.height));
      context.lineTo(stroke[0][0] * canvas.width, stroke[0][1] * canvas.height + (stroke.length === 1 ? 0.01 : NaN));
      context.stroke();
    }
    if (this.cursor) {
      const [x, y] = this.cursor;
      context.lineWidth = 2;
      context.beginPath();
      context.arc(x * canvas.width, y * canvas.height, canvas.width / 20, 0, 2 * Math.PI);
      if (this.isDown) context.fill();
      context.stroke();
    }
  }

  #place({ clientX, clientY }) {
    const box = this.canvas.getBoundingClientRect();
    return [(clientX - box.left) / box.width, (clientY - box.top) / box.height];
  }

  #key(event) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key !== " " && !moves[event.key]) return;
    event.preventDefault();
    if (!this.cursor) this.cursor = [0.5, 0.5];
    else if (moves[event.key]) {
      const [dx, dy] = moves[event.key];
      const within = (value) => Math.min(0.95, Math.max(0.05, value));
      this.cursor = [within(this.cursor[0] + dx / 16), within(this.cursor[1] + dy / 16)];
    }
    if (event.key === " ") {
      this.isDown = !this.isDown;
      if (this.isDown) this.strokes.push([this.cursor]);
    } else if (this.isDown) this.strokes.at(-1).push(this.cursor);
    this.#changed();
  }

  /** Return the strokes in points of the image, scaled to fill it and centred. */
  #fitted() {
    const all = this.strokes.flat();
    const [left, top] = [0, 1].map((axis) => Math.min(...all.map((point) => point[axis])));
    const [right, bottom] = [0, 1].map((axis) => Math.max(...all.map((point) => point[axis])));
    const [columns, rows] = [this.width * FINE, this.height * FINE];
    const room = [columns - 2 * PEN, rows - 2 * PEN];
    const factor = Math.min(room[0] / Math.max(right - left, 0.05), room[1] / Math.max(bottom - top, 0.05));
    const shift = [columns / 2 - (factor * (left + right)) / 2, rows / 2 - (factor * (top + bottom)) / 2];
    return this.strokes.map((stroke) => stroke.map(([x, y]) => [x * factor + shift[0], y * factor + shift[1]]));
  }

  #changed() {
    this.paint();
    this.onChange();
  }
}

/** Return the distance between a point and a line of points. */
function distance(stroke, x, y) {
  let least = Infinity;
  stroke.forEach(([x2, y2], i) => {
    const [x1, y1] = stroke[Math.max(i - 1, 0)];
    const [dx, dy] = [x2 - x1, y2 - y1];
    const length = dx * dx + dy * dy;
    const along = length ? Math.min(1, Math.max(0, ((x - x1) * dx + (y - y1) * dy) / length)) : 0;
    least = Math.min(least, Math.hypot(x - x1 - along * dx, y - y1 - along * dy));
  });
  return least;
}

/** Draw an image of values from 0 to 1, one pixel each, as black on white. */
export function paintImage(canvas, image, { width, height }) {
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    pixels.data.fill(255 * (1 - (image?.[i] ?? 0)), 4 * i, 4 * i + 3);
    pixels.data[4 * i + 3] = 255;
  }
  context.putImageData(pixels, 0, 0);
}
