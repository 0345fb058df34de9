"use strict";
// Draws each tree of functions: a frame is [name, where, amount, frames that it called].
(() => {
  const ROW = 20, NARROWEST = 1;
  const shown = (amount, unit) => unit === "bytes"
    ? (amount >= 1048576 ? `${(amount / 1048576).toFixed(1)} MiB` : `${(amount / 1024).toFixed(1)} KiB`)
    : `${amount.toPrecision(3)} ms`;
  // One colour for a file, so that a room of the package is seen as one.
  const colour = where => {
    let hash = 0;
    for (const letter of where.split(":")[0]) hash = (hash * 31 + letter.codePointAt(0)) % 360;
    const own = where.startsWith("scheduler_repo/");
    return `hsl(${hash} ${!where ? 0 : own ? 70 : 25}% var(--${own ? "own" : "other"}-light))`;
  };
  for (const graph of document.querySelectorAll(".graph")) {
    const root = JSON.parse(graph.querySelector("script").textContent);
    const unit = graph.dataset.unit;
    const draw = path => {
      const width = graph.clientWidth, focus = path[path.length - 1];
      const bars = document.createDocumentFragment();
      let deepest = 0;
      const bar = (frame, left, share, depth, way) => {
        const made = document.createElement("button");
        made.className = "frame";
        made.style = `left:${left}px;width:${share}px;top:${depth * ROW}px;background:${colour(frame[1])}`;
        made.textContent = share > 30 ? frame[0] : "";
        made.title = `${frame[0]}\n${frame[1]}\n${shown(frame[2], unit)}, ${(100 * frame[2] / root[2]).toFixed(1)} %`;
        made.onclick = () => draw(way);
        bars.append(made);
        deepest = Math.max(deepest, depth);
      };
      // What the enlarged frame was called by is as wide as the graph.
      path.slice(0, -1).forEach((frame, depth) => bar(frame, 0, width, depth, path.slice(0, depth + 1)));
      const lay = (frame, left, depth, way) => {
        const share = width * frame[2] / focus[2];
        if (share < NARROWEST) return;
        bar(frame, left, share, depth, way);
        let at = left;
        for (const called of frame[3]) {
          lay(called, at, depth + 1, [...way, called]);
          at += width * called[2] / focus[2];
        }
      };
      lay(focus, 0, path.length - 1, path);
      graph.replaceChildren(bars);
      graph.style.height = `${(deepest + 1) * ROW}px`;
    };
    draw([root]);
    addEventListener("resize", () => draw([root]));
  }
})();
