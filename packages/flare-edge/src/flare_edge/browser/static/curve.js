// A plot of the loss by version.

const SVG = "http://www.w3.org/2000/svg";
const [LEFT, RIGHT, TOP, BOTTOM] = [40, 312, 8, 116];

/** @param {SVGElement} svg @param {[number, number][]} points Version and loss, in order. */
export function plot(svg, points) {
  const highest = Math.max(...points.map(([, loss]) => loss), 1e-9);
  const [first, last] = [points[0][0], points.at(-1)[0]];
  const x = (version) => LEFT + ((RIGHT - LEFT) * (version - first)) / Math.max(last - first, 1);
  const y = (loss) => BOTTOM - ((BOTTOM - TOP) * loss) / highest;
  const places = points.map(([version, loss]) => `${x(version).toFixed(1)},${y(loss).toFixed(1)}`);
  const [endX, endY] = places.at(-1).split(",");
  svg.setAttribute("aria-label", `Loss: ${short(points[0][1])} at version ${first}, ${short(points.at(-1)[1])} at version ${last}`);
  svg.replaceChildren(
    element("path", { class: "axis", d: `M${LEFT} ${TOP}V${BOTTOM}H${RIGHT}`, fill: "none" }),
    element("text", { x: LEFT - 6, y: TOP + 8, "text-anchor": "end" }, short(highest)),
    element("text", { x: LEFT - 6, y: BOTTOM, "text-anchor": "end" }, "0"),
    element("text", { x: LEFT, y: BOTTOM + 18 }, `version ${first}`),
    element("text", { x: RIGHT, y: BOTTOM + 18, "text-anchor": "end" }, last > first ? String(last) : ""),
    element("polyline", { class: "line", points: places.join(" ") }),
    element("circle", { cx: endX, cy: endY, r: 4 }),
  );
}

function short(value) {
  return Number(value.toPrecision(3)).toString();
}

function element(name, attributes, text = "") {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}
