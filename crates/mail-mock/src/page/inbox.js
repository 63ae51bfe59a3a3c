// Whatever a mail says is set by textContent; its HTML is a sandboxed document of its own.

import { setText, showFaults } from "./faults.js";

const PAGE = 50;
const $ = (id) => document.getElementById(id);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
// Where the mail stands beside the list, the newest is shown as long as none is chosen.
const wide = matchMedia("(min-width: 45.01rem)");

let limit = PAGE;
let version = "";
let asking = null;
let rows = []; // as the mock told them, newest first
let known = null; // the IDs that were told before
let shown = null; // the mail that is open
let part = null; // the part that the reader asked for, if any
const codes = new Map(); // by ID: the code, and when it dies by this page's clock

async function ask(path, options) {
  const response = await fetch(path, options);
  if (!response.ok && response.status !== 404) throw new Error(`${path}: ${response.status}`);
  return response;
}

// The list

function row(mail) {
  const item = document.createElement("li");
  item.id = `mail-${mail.ID}`;
  const link = item.appendChild(document.createElement("a"));
  link.href = `#${mail.ID}`;
  const add = (tag, name, text) => {
    const element = link.appendChild(document.createElement(tag));
    element.className = name;
    element.textContent = text;
    return element;
  };
  add("span", "to", mail.To.map((to) => to.Address).join(", "));
  setTime(add("time", "time", ""), mail.Created);
  add("span", "subject", mail.Subject || "(no subject)");
  if (mail.Code) {
    const chip = add("span", "chip", "");
    chip.append(Object.assign(document.createElement("b"), { textContent: mail.Code.Digits }), " ");
    chip.append(Object.assign(document.createElement("span"), { className: "left" }));
  } else {
    add("span", "snippet", mail.Snippet);
  }
  return item;
}

function setTime(element, created) {
  const date = new Date(created);
  const today = date.toDateString() === new Date().toDateString();
  element.dateTime = created;
  element.title = date.toLocaleString();
  element.textContent = today ? date.toLocaleTimeString() : date.toLocaleString();
}

// Keeps the rows that stay, so that neither the focus nor the scroll position jumps when a mail comes in.
function showList(total, messages) {
  const list = $("mails");
  rows = messages;
  const wanted = new Set(messages.map((mail) => `mail-${mail.ID}`));
  for (const item of [...list.children]) if (!wanted.has(item.id)) item.remove();
  messages.forEach((mail, index) => {
    if (list.children[index]?.id !== `mail-${mail.ID}`) list.insertBefore(row(mail), list.children[index] ?? null);
  });
  codes.clear();
  const now = performance.now();
  for (const { ID, Code } of messages) {
    if (Code) codes.set(ID, { digits: Code.Digits, lifetime: Code.LifetimeMs, dies: now + Code.LeftMs });
  }
  document.body.classList.toggle("none", total === 0);
  $("none").hidden = total > 0;
  $("more").hidden = messages.length >= total;
  $("empty").disabled = total === 0;
  document.title = total ? `Inbox (${total})` : "Inbox";
}

function tellNew(messages) {
  const fresh = known ? messages.filter((mail) => !known.has(mail.ID)) : [];
  known = new Set(messages.map((mail) => mail.ID));
  if (!fresh.length) return;
  const [{ To, Subject, Code }] = fresh;
  const others = fresh.length > 1 ? `${fresh.length} new mails, the latest` : "New mail";
  const code = Code ? ` Code ${spelled(Code.Digits)}.` : "";
  setText($("news"), `${others} to ${To.map((to) => to.Address).join(", ")}: ${Subject}.${code}`);
}

const spelled = (digits) => [...digits].join(", ");

function markCurrent() {
  for (const link of document.querySelectorAll("#mails a")) {
    if (shown && link.hash === `#${shown.ID}`) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}

// The codes

function tick() {
  const now = performance.now();
  for (const [id, code] of codes) {
    const left = Math.max(0, code.dies - now);
    const item = $(`mail-${id}`);
    if (item) showLeft(item.querySelector(".chip"), code, left, (seconds) => `${seconds} s`);
    if (shown?.ID === id) {
      showLeft($("code"), code, left, (seconds) => `${seconds} ${seconds === 1 ? "second" : "seconds"} left`);
    }
  }
}

function showLeft(element, code, left, words) {
  element.classList.toggle("expired", left === 0);
  element.style.setProperty("--left", left / code.lifetime);
  setText(element.querySelector("#left, .left"), left === 0 ? "expired" : words(Math.ceil(left / 1000)));
}

function showCode() {
  const code = shown && codes.get(shown.ID);
  $("code").hidden = !code;
  if (!code) return;
  setText($("digits"), code.digits);
  $("digits").setAttribute("aria-label", spelled(code.digits));
  tick();
}

async function copy(button, text) {
  const label = button.textContent;
  await navigator.clipboard.writeText(text);
  button.textContent = "Copied";
  await sleep(1500);
  button.textContent = label;
}

// One mail

const chosen = () => decodeURIComponent(location.hash.slice(1));

// The focus follows who has chosen a mail; one that opens by itself takes it from nobody.
async function showMail(focus = false) {
  const id = chosen() || (wide.matches && rows[0]?.ID) || "";
  if (id && id === shown?.ID) return focus && focusMail();
  const response = id ? await ask(`api/v1/message/${encodeURIComponent(id)}`) : null;
  const mail = response?.ok ? await response.json() : null;
  if (chosen() && chosen() !== id) return; // the reader has moved on
  const left = shown && $(`mail-${shown.ID}`);
  shown = mail;

  document.body.classList.toggle("reading", shown !== null);
  $("mail").hidden = shown === null;
  markCurrent();
  showCode();
  if (!shown) {
    if (focus) left?.querySelector("a").focus();
    return;
  }

  const mailbox = ({ Name, Address }) => (Name ? `${Name} <${Address}>` : Address);
  $("subject").textContent = shown.Subject || "(no subject)";
  $("from").textContent = mailbox(shown.From);
  $("to").textContent = shown.To.map(mailbox).join(", ");
  setTime($("date"), shown.Date);
  $("date").textContent = $("date").title;
  // A frame of its own for each mail: a new address in the old one would be a step of its own for the Back button.
  const frame = $("html").cloneNode();
  frame.src = `view/${shown.ID}.html`;
  $("html").replaceWith(frame);
  $("text").replaceChildren(...withLinks(shown.Text));
  $("parts").hidden = !(shown.HTML && shown.Text);
  part = null;
  showPart();
  $("mail").scrollTop = 0;
  if (focus && chosen()) focusMail();
}

function focusMail() {
  if (!$("mail").contains(document.activeElement)) $("mail").focus({ preventScroll: true });
}

function showPart() {
  const html = shown.HTML !== "" && part !== "text";
  $("html").hidden = !html;
  $("text").hidden = html;
  $("as-html").setAttribute("aria-pressed", html);
  $("as-text").setAttribute("aria-pressed", !html);
}

function withLinks(text) {
  return text.split(/(https?:\/\/[^\s<>"]*[^\s<>".,;:!?)\]])/).map((piece, index) => {
    if (index % 2 === 0) return piece;
    const link = document.createElement("a");
    link.href = piece;
    link.rel = "noopener noreferrer";
    link.target = "_blank";
    link.textContent = piece;
    return link;
  });
}

// The round

function showHint(apiUrl) {
  const api = apiUrl ?? `http://${location.hostname}:8000`;
  const body = '{"email":"ada@example.com","password":"correct horse battery"}';
  setText($("try"), `curl ${api}/v1/users \\\n  -H 'Content-Type: application/json' \\\n  -d '${body}'`);
  $("docs").href = `${api}/docs`;
}

// The answer comes when there is something new, or after a while.
async function refresh() {
  asking = new AbortController();
  const signal = AbortSignal.any([asking.signal, AbortSignal.timeout(40_000)]);
  const response = await ask(`api/inbox?limit=${limit}&after=${encodeURIComponent(version)}`, { signal });
  const view = await response.json();
  version = view.version;
  showFaults(view.faults, view.hits);
  showList(view.total, view.messages);
  showHint(view.api_url);
  setText($("status"), view.total === 1 ? "1 mail" : `${view.total} mails`);
  $("status").className = "";
  tellNew(view.messages);
  if (chosen() && !$("mail").hidden) showCode();
  else await showMail();
  markCurrent();
  tick();
}

async function poll() {
  for (;;) {
    try {
      await refresh();
      // However fast mails come in, there is time to look at them.
      await sleep(50);
    } catch (error) {
      if (error.name === "AbortError") continue; // asked anew, for more
      version = "";
      setText($("status"), "The mail server does not answer; trying again.");
      $("status").className = "lost";
      await sleep(1000);
    }
  }
}

function again() {
  version = "";
  asking?.abort();
}

// The keys

$("mails").addEventListener("keydown", (event) => {
  const links = [...document.querySelectorAll("#mails a")];
  const at = links.indexOf(document.activeElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: links.length - 1 }[event.key];
  if (to === undefined || at < 0) return;
  event.preventDefault();
  links[Math.min(Math.max(to, 0), links.length - 1)].focus();
});
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && chosen() && !$("faults").contains(document.activeElement)) location.hash = "";
});

addEventListener("hashchange", () => showMail(true).catch(() => {}));
wide.addEventListener("change", () => showMail().catch(() => {}));
$("as-html").addEventListener("click", () => { part = "html"; showPart(); });
$("as-text").addEventListener("click", () => { part = "text"; showPart(); });
$("copy").addEventListener("click", () => copy($("copy"), codes.get(shown.ID).digits));
$("copy-try").addEventListener("click", () => copy($("copy-try"), $("try").textContent));
// Browsers have it only where nobody on the way can change the page.
for (const id of ["copy", "copy-try"]) $(id).hidden = !navigator.clipboard;
$("more").addEventListener("click", () => { limit += PAGE; again(); });
$("empty").addEventListener("click", async () => {
  if (!confirm("Delete all mails?")) return;
  await ask("api/v1/messages", { method: "DELETE" }).catch(() => {});
  location.hash = "";
});

setInterval(tick, 200);
poll();
