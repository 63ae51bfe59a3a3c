// The forms of the faults. PUT /api/faults replaces all faults, so each request repeats the current values of the others.

const $ = (id) => document.getElementById(id);
const form = (fault) => document.querySelector(`form[data-fault="${fault}"]`);
const percent = (share) => `${+(share * 100).toFixed(1)} %`;
const share = (fault) => Number(form(fault).elements.share.value) / 100;

// For each fault: whether it is active, the fields to set and to clear it, its description, and its count.
const FAULTS = {
  fail: {
    isActive: (faults) => faults.fail_rate > 0,
    fields: () => ({ fail_rate: share("fail"), status: Number(form("fail").elements.status.value) }),
    cleared: { fail_rate: 0 },
    describe: (faults) => `${percent(faults.fail_rate)} refused with ${faults.status}`,
    countText: (hits) => `${hits.failed} refused so far`,
    fill: (faults, inputs) => { inputs.share.value = faults.fail_rate * 100; inputs.status.value = faults.status; },
  },
  latency: {
    isActive: (faults) => faults.latency_ms > 0,
    fields: () => ({ latency_ms: Number(form("latency").elements.ms.value) }),
    cleared: { latency_ms: 0 },
    describe: (faults) => `${faults.latency_ms} ms of delay`,
    countText: (hits) => `${hits.delayed} delayed so far`,
    fill: (faults, inputs) => { inputs.ms.value = faults.latency_ms; },
  },
  drop: {
    isActive: (faults) => faults.drop_rate > 0,
    fields: () => ({ drop_rate: share("drop") }),
    cleared: { drop_rate: 0 },
    describe: (faults) => `${percent(faults.drop_rate)} of answers dropped`,
    countText: (hits) => `${hits.dropped} dropped so far`,
    fill: (faults, inputs) => { inputs.share.value = faults.drop_rate * 100; },
  },
};

let current = {};

// Does not set an unchanged text: a screen reader would read the live region again.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function showFaults(faults, hits) {
  const changed = JSON.stringify(faults) !== JSON.stringify(current);
  current = faults;
  const descriptions = [];
  for (const [name, fault] of Object.entries(FAULTS)) {
    const [element, on] = [form(name), fault.isActive(faults)];
    if (on) descriptions.push(fault.describe(faults));
    // Another client may have changed the faults. Do not overwrite a form in which the user is typing.
    if (on && changed && !element.contains(document.activeElement)) fault.fill(faults, element.elements);
    element.classList.toggle("on", on);
    const clear = element.querySelector(".clear");
    // Disabling a focused button loses the focus: move the focus first.
    if (!on && document.activeElement === clear) element.querySelector("[type=submit]").focus();
    clear.disabled = !on;
    setText(element.querySelector(".state"), on ? `In force: ${fault.countText(hits)}` : "Off");
  }
  setText($("armed"), descriptions.length ? descriptions.join(" · ") : "none in force");
  $("faults").classList.toggle("on", descriptions.length > 0);
}

async function setFault(name, change) {
  const state = form(name).querySelector(".state");
  try {
    const body = JSON.stringify({ ...current, ...change });
    const response = await fetch("api/faults", {
      method: "PUT",
      headers: { "Content-Type": "application/json" },
      body,
      signal: AbortSignal.timeout(5000),
    });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.Error);
    showFaults(answer, { failed: 0, delayed: 0, dropped: 0 });
  } catch (error) {
    setText(state, `Not changed: ${error.message}`);
  }
}

for (const [name, fault] of Object.entries(FAULTS)) {
  form(name).addEventListener("submit", (event) => {
    event.preventDefault();
    setFault(name, fault.fields());
  });
  form(name).querySelector(".clear").addEventListener("click", () => setFault(name, fault.cleared));
}
