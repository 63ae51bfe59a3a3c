// The faults as controls. The mock replaces all of them at once, so each order repeats the others that are in force.

const $ = (id) => document.getElementById(id);
const form = (fault) => document.querySelector(`form[data-fault="${fault}"]`);
const percent = (share) => `${+(share * 100).toFixed(1)} %`;
const share = (fault) => Number(form(fault).elements.share.value) / 100;

// Of each: whether it is in force, what is ordered, what ends it, how it is told, and what it has done.
const FAULTS = {
  fail: {
    on: (faults) => faults.fail_rate > 0,
    order: () => ({ fail_rate: share("fail"), status: Number(form("fail").elements.status.value) }),
    end: { fail_rate: 0 },
    told: (faults) => `${percent(faults.fail_rate)} refused with ${faults.status}`,
    hits: (hits) => `${hits.failed} refused so far`,
    fill: (faults, fields) => { fields.share.value = faults.fail_rate * 100; fields.status.value = faults.status; },
  },
  latency: {
    on: (faults) => faults.latency_ms > 0,
    order: () => ({ latency_ms: Number(form("latency").elements.ms.value) }),
    end: { latency_ms: 0 },
    told: (faults) => `${faults.latency_ms} ms of delay`,
    hits: (hits) => `${hits.delayed} delayed so far`,
    fill: (faults, fields) => { fields.ms.value = faults.latency_ms; },
  },
  drop: {
    on: (faults) => faults.drop_rate > 0,
    order: () => ({ drop_rate: share("drop") }),
    end: { drop_rate: 0 },
    told: (faults) => `${percent(faults.drop_rate)} of answers dropped`,
    hits: (hits) => `${hits.dropped} dropped so far`,
    fill: (faults, fields) => { fields.share.value = faults.drop_rate * 100; },
  },
};

let inForce = {};

// An unchanged text is left alone: a live region would be read out again.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function showFaults(faults, hits) {
  const changed = JSON.stringify(faults) !== JSON.stringify(inForce);
  inForce = faults;
  const told = [];
  for (const [name, fault] of Object.entries(FAULTS)) {
    const [element, on] = [form(name), fault.on(faults)];
    if (on) told.push(fault.told(faults));
    // Somebody else may order faults, too; what is being typed is left alone.
    if (on && changed && !element.contains(document.activeElement)) fault.fill(faults, element.elements);
    element.classList.toggle("on", on);
    const clear = element.querySelector(".clear");
    // A button that is disabled under the finger loses the focus.
    if (!on && document.activeElement === clear) element.querySelector("[type=submit]").focus();
    clear.disabled = !on;
    setText(element.querySelector(".state"), on ? `In force: ${fault.hits(hits)}` : "Off");
  }
  setText($("armed"), told.length ? told.join(" · ") : "none in force");
  $("faults").classList.toggle("on", told.length > 0);
}

async function order(name, change) {
  const state = form(name).querySelector(".state");
  try {
    const body = JSON.stringify({ ...inForce, ...change });
    const response = await fetch("api/faults", { method: "PUT", body, signal: AbortSignal.timeout(5000) });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.Error);
    showFaults(answer, { failed: 0, delayed: 0, dropped: 0 });
  } catch (error) {
    setText(state, `Not ordered: ${error.message}`);
  }
}

for (const [name, fault] of Object.entries(FAULTS)) {
  form(name).addEventListener("submit", (event) => {
    event.preventDefault();
    order(name, fault.order());
  });
  form(name).querySelector(".clear").addEventListener("click", () => order(name, fault.end));
}
