"use strict";
// The question box, the filters of the tables, and the copy buttons. The page shows everything else without this script.
(async () => {
  const find = (id) => document.getElementById(id);
  // The data is JSON, compressed with gzip and written in base64: this keeps the page small.
  const packed = Uint8Array.from(atob(find("data").textContent), (one) => one.charCodeAt(0));
  const data = await new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
  document.documentElement.classList.add("scripted");
  for (const one of document.querySelectorAll(".js")) one.hidden = false;

  // --- elements -------------------------------------------------------------------------------

  function make(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  const status = make("p", { class: "unseen", role: "status" });
  document.body.append(status);

  async function copy(button) {
    const text = button.parentElement.querySelector("pre").textContent;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // A page from disk may have no clipboard: select the text and copy the selection.
      const range = document.createRange();
      range.selectNodeContents(button.parentElement.querySelector("pre"));
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      document.execCommand("copy");
    }
    button.textContent = "Copied";
    status.textContent = "Copied to the clipboard";
    setTimeout(() => { button.textContent = "Copy"; status.textContent = ""; }, 2000);
  }

  document.addEventListener("click", (event) => {
    if (event.target.matches("button.copy")) copy(event.target);
  });

  /** A text from runs of consecutive lines. */
  function written(runs) {
    const lines = [];
    for (let n = 0; n < runs.length; n += 2) lines.push(...data.lines.slice(runs[n], runs[n] + runs[n + 1]));
    return lines.join("\n") + "\n";
  }

  function code(text) {
    return make("div", { class: "copied" }, make("button", { type: "button", class: "copy" }, "Copy"),
      make("pre", { tabindex: "0" }, text));
  }

  for (const one of document.querySelectorAll("details[data-code]")) {
    one.addEventListener("toggle", () => {
      if (!one.open || one.querySelector("pre")) return;
      one.append(code(written(data.code[one.dataset.code][one.dataset.of])));
    });
  }

  // --- the answer -----------------------------------------------------------------------------

  const layerOf = (id) => data.implementations[id].layer;

  /** The pairs that a choice of two names stands for: a framework stands for one layer of each kind. */
  function pairsOf(from, to) {
    const kinds = from in data.implementations ? [layerOf(from)]
      : to in data.implementations ? [layerOf(to)] : Object.keys(data.layers);
    const pick = (name, kind) => name in data.implementations ? name : (data.standing[name] || {})[kind];
    return kinds.map((kind) => [kind, pick(from, kind), pick(to, kind)]);
  }

  function difference(number, target, source) {
    const [, subject, a, b, remedy, requirement, dtypes, numbers] = data.differences[number];
    const own = data.evidence[requirement] || {};
    const anchor = own[target] || own[source];
    const name = anchor ? make("a", { href: `#${anchor}` }, data.texts[subject]) : data.texts[subject];
    const item = make("li", {}, make("strong", {}, name), dtypes ? ` (${dtypes})` : "",
      `: ${data.texts[a]} → ${data.texts[b]}`);
    if (numbers) {
      const [, where, before, after] = numbers;
      item.append(make("span", { class: "note", title: data.texts[numbers[0]] },
        ` In numbers, ${where}: ${before} → ${after}.`));
    }
    if (data.texts[remedy]) item.append(make("span", { class: "remedy" }, `Write: ${data.texts[remedy]}`));
    return item;
  }

  function answerOf(kind, source, target) {
    const shown = make("section", { class: "port" });
    const title = make("h3", {}, `${data.layers[kind]}: `, make("code", {}, source || "none"), " to ",
      make("code", {}, target || "none"));
    shown.append(title);
    if (!source || !target) {
      shown.append(make("p", {}, `One of the two frameworks has no ${data.layers[kind]} here.`));
      return shown;
    }
    if (layerOf(source) !== layerOf(target)) {
      shown.append(make("p", {}, "These are two kinds of layer. Choose two layers of one kind."));
      return shown;
    }
    const groups = [source, target].map((one) => data.implementations[one].group);
    const pair = data.pairs[groups.join(" ")];
    if (!pair) {
      shown.append(make("p", { class: "sentence same" },
        "The same: every fact that was measured of both is equal."));
    } else {
      const [sentence, numbers, dtypes, equal] = pair;
      shown.append(make("p", { class: "sentence" }, data.texts[sentence]),
        make("p", { class: "note" }, `Compared in ${data.texts[dtypes] || "no common type"}; equal facts: ${equal}.`));
      data.headings.forEach((heading, weight) => {
        const own = numbers.filter((one) => data.differences[one][0] === weight);
        if (!own.length) return;
        const list = make("ul", { class: "changes" }, ...own.map((one) => difference(one, target, source)));
        if (weight === 0) shown.append(make("p", { class: "note" }, `${heading}:`), list);
        else shown.append(make("details", {}, make("summary", {}, `${heading} (${own.length})`), list));
      });
    }
    shown.append(...recipe(source, target));
    const sheets = [source, target].map((one) => [one, data.implementations[one].sheet]).filter(([, id]) => id);
    if (sheets.length) {
      shown.append(make("p", { class: "note" }, "Everything that was measured: ",
        ...sheets.flatMap(([one, id], n) => [n ? " · " : "", make("a", { href: `#${id}` }, one)])));
    }
    return shown;
  }

  /** A requirement in which one implementation differs, with its evidence. */
  function departure(id, [requirement, title, word, said, remedy, dtypes]) {
    const anchor = (data.evidence[requirement] || {})[id];
    const name = anchor ? make("a", { href: `#${anchor}` }, data.texts[title]) : data.texts[title];
    const item = make("li", {}, make("strong", {}, name), dtypes ? ` (${dtypes})` : "", `: ${data.texts[word]}`,
      data.texts[said] ? `, ${data.texts[said]}` : "");
    if (data.texts[remedy]) item.append(make("span", { class: "remedy" }, `Write: ${data.texts[remedy]}`));
    return item;
  }

  /** Is one implementation safe, what are its hazards, and where is its section. */
  function alone(kind, id) {
    const shown = make("section", { class: "port" }, make("h3", {}, `${data.layers[kind]}: `, make("code", {}, id || "none")));
    if (!data.alone[id]) {
      shown.append(make("p", {}, `The framework has no ${data.layers[kind]} here.`));
      return shown;
    }
    const [sentence, errors, hazards, others] = data.alone[id];
    shown.append(make("p", { class: "sentence" }, data.texts[sentence]));
    const list = (items) => make("ul", { class: "changes" }, ...items);
    if (errors.length) shown.append(make("p", { class: "note" }, "Errors:"), list(errors.map((one) => departure(id, one))));
    if (hazards.length) {
      shown.append(make("p", { class: "note" }, "Hazards:"),
        list(hazards.map(([text, dtypes]) => make("li", {}, data.texts[text], dtypes ? ` (${dtypes})` : ""))));
    }
    if (others.length) {
      shown.append(make("details", {}, make("summary", {}, `Other conventions and documentation (${others.length})`),
        list(others.map((one) => departure(id, one)))));
    }
    const sheet = data.implementations[id].sheet;
    if (sheet) shown.append(make("p", { class: "note" }, "Everything that was measured: ", make("a", { href: `#${sheet}` }, id)));
    return shown;
  }

  function recipe(source, target) {
    const [there, here] = [source, target].map((one) => data.implementations[one].plain);
    const found = data.recipes[`${there}|${here}`];
    if (!found) return there === here ? [] : [make("p", { class: "note" }, "There is no code for this pair.")];
    const [lines, impossible] = found;
    if (!lines.length) {
      const why = impossible.map((one) => data.texts[one]).join("; ");
      return [make("p", {}, `No code makes the two agree: ${why}.`)];
    }
    const summary = make("summary", {}, "Code to write: ", make("code", {}, here), " in place of ", make("code", {}, there));
    const check = make("p", { class: "note" }, "Made from the measured profiles, in float32. To run both and compare: ",
      make("code", {}, `normgauge recipe ${[there, here].map((one) => `"${one.replace(" @", "@")}"`).join(" ")} --verify`));
    return [make("details", { open: "" }, summary, check, code(written(lines)))];
  }

  function box() {
    const [from, to] = [find("from"), find("to")];
    for (const group of [...from.children].slice(1)) to.append(group.cloneNode(true));
    const asked = new URLSearchParams(location.search);
    for (const one of [from, to]) {
      const value = asked.get(one.name);
      if ([...one.options].some((option) => option.value === value)) one.value = value;
    }
    if (asked.has("from") && !asked.get("to")) to.value = "";
    const show = () => {
      find("answer").replaceChildren(...pairsOf(from.value, to.value || from.value).map(([kind, source, target]) =>
        source === target ? alone(kind, source) : answerOf(kind, source, target)));
    };
    const remember = () => {
      const query = new URLSearchParams(location.search);
      query.set("from", from.value);
      query.set("to", to.value);
      try {
        history.replaceState(null, "", `?${query}${location.hash}`);
      } catch {
        // Some browsers do not let a page from disk change its address.
      }
      show();
    };
    from.addEventListener("change", remember);
    to.addEventListener("change", remember);
    find("swap").addEventListener("click", () => {
      if (to.value) [from.value, to.value] = [to.value, from.value];
      remember();
    });
    for (const often of document.querySelectorAll(".often a")) {
      often.addEventListener("click", (event) => {
        event.preventDefault();  // its section is for readers without a script
        [from.value, to.value] = [often.dataset.from, often.dataset.to];
        remember();
      });
    }
    find("ask-form").addEventListener("submit", (event) => event.preventDefault());
    show();
  }

  // --- the filters of a matrix ----------------------------------------------------------------

  const DEPARTS = new Set(["wrong", "differs", "diverges", "raises", "crashes"]);
  const WORDS = [...DEPARTS, "conforms", "unsupported", "cannot-tell"];
  const wordOf = (element) => WORDS.find((one) => element.classList.contains(one));

  /** The words of a cell, as far as they are about a type. */
  function wordsOf(cell, dtype) {
    if (!cell.classList.contains("mixed")) return [wordOf(cell)];
    return [...cell.children].filter((one) => !dtype || !one.dataset.d || one.dataset.d.split(", ").includes(dtype))
      .map(wordOf);
  }

  function matrix(block) {
    const table = block.querySelector("table");
    const heads = [...table.tHead.rows[0].cells].slice(1);
    const rows = [...table.tBodies[0].rows].map((row) => [row, [...row.cells].slice(1)]);
    const controls = [...block.querySelectorAll("[data-filter]")];

    function apply() {
      const set = Object.fromEntries(controls.map((one) =>
        [one.dataset.filter, one.type === "checkbox" ? one.checked : one.value]));
      if (set.mode && set.mode !== "eager") block.querySelector(".modes").checked = true;
      const modes = block.querySelector(".modes").checked;
      const whole = (head) => head.textContent.replace(/ (\S+(, )?)+ only$/, "");
      const compared = heads.findIndex((head) => set.from && whole(head) === set.from);
      const shown = heads.map((head, n) => n === compared || ((modes || head.dataset.mode === "eager") &&
        ["framework", "mode", "layer"].every((one) => !set[one] || head.dataset[one] === set[one])));
      heads.forEach((head, n) => head.classList.toggle("gone", !shown[n]));
      let count = 0;
      for (const [row, cells] of rows) {
        const words = cells.map((cell) => wordsOf(cell, set.dtype));
        const departing = new Set(heads.filter((_, n) => shown[n] && words[n].some((one) => DEPARTS.has(one)))
          .map((head) => head.dataset.framework));
        const wanted = (word) => set.verdict === "departs" ? DEPARTS.has(word) : word === set.verdict.replace(" ", "-");
        const keep = (!set.verdict || words.some((own, n) => shown[n] && own.some(wanted)))
          && (!set.only || departing.size === 1)
          && (compared < 0 || words.some((own, n) => shown[n] && n !== compared && own.join() !== words[compared].join()));
        row.classList.toggle("gone", !keep);
        count += keep;
        cells.forEach((cell, n) => {
          cell.classList.toggle("gone", !shown[n]);
          if (cell.classList.contains("mixed")) {
            for (const one of cell.children) {
              one.classList.toggle("gone", !!(set.dtype && one.dataset.d && !one.dataset.d.split(", ").includes(set.dtype)));
            }
          }
        });
      }
      block.querySelector("output").textContent =
        `${count} of ${rows.length} requirements, ${shown.filter(Boolean).length} of ${heads.length} layers`;
    }

    block.querySelector("form").addEventListener("change", apply);
    block.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
    // The arrow keys lead from one linked cell to the next in that direction.
    table.addEventListener("keydown", (event) => {
      const [down, right] = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] }[event.key] || [];
      const cell = event.target.closest("td, th");
      if (down === undefined || !cell) return;
      const all = [...table.rows];
      let [y, x] = [all.indexOf(cell.parentElement) + down, cell.cellIndex + right];
      for (; all[y] && all[y].cells[x]; y += down, x += right) {
        const link = all[y].cells[x].querySelector("a");
        if (link && link.offsetParent) {
          link.focus();
          event.preventDefault();
          return;
        }
      }
    });
    apply();
  }

  if (find("ask-form")) box();
  for (const block of document.querySelectorAll(".matrix-block")) matrix(block);
})();
