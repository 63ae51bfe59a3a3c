// Mails are untrusted: their text is set with textContent, and their HTML is shown in a sandboxed frame.

import { setText, showFaults } from "./faults.js";

const PAGE_SIZE = 50;
const $ = (id) => document.getElementById(id);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
// On a wide screen the mail stands next to the list, and the newest mail is open until the user selects one.
const wide = matchMedia("(min-width: 45.01rem)");

let limit = PAGE_SIZE;
let version = "";
let polling = null; // the AbortController of the current request
let rows = []; // the listed mails, newest first
let known = null; // the IDs of the previous response
let shown = null; // the open mail
let part = null; // "html" or "text" if the user has chosen one
const codes = new Map(); // by mail ID: the code and its expiry by this page's clock

async function request(path, options) {
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

// Keeps existing rows, so that a new mail changes neither the focus nor the scroll position.
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
    if (Code) codes.set(ID, { digits: Code.Digits, lifetime: Code.LifetimeMs, expires: now + Code.LeftMs });
  }
  document.body.classList.toggle("none", total === 0);
  $("none").hidden = total > 0;
  $("more").hidden = messages.length >= total;
  $("empty").disabled = total === 0;
  document.title = total ? `Inbox (${total})` : "Inbox";
}

function announceNew(messages) {
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
    const left = Math.max(0, code.expires - now);
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

const selected = () => decodeURIComponent(location.hash.slice(1));

// Moves the focus to the mail only if the user has selected it.
async function showMail(focus = false) {
  const id = selected() || (wide.matches && rows[0]?.ID) || "";
  if (id && id === shown?.ID) return focus && focusMail();
  const response = id ? await request(`api/v1/message/${encodeURIComponent(id)}`) : null;
  const mail = response?.ok ? await response.json() : null;
  if (selected() && selected() !== id) return; // the user has selected another mail meanwhile
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
  // A new frame for each mail: a new URL in the old frame would add an entry to the browser history.
  const frame = $("html").cloneNode();
  frame.src = `view/${shown.ID}.html`;
  $("html").replaceWith(frame);
  $("text").replaceChildren(...withLinks(shown.Text));
  $("parts").hidden = !(shown.HTML && shown.Text);
  part = null;
  showPart();
  $("mail").scrollTop = 0;
  if (focus && selected()) focusMail();
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

// The long poll

function showHint(apiUrl) {
  const api = apiUrl ?? `http://${location.hostname}:8000`;
  const body = '{"email":"ada@example.com","password":"correct horse battery"}';
  setText($("try"), `curl ${api}/v1/users \\\n  -H 'Content-Type: application/json' \\\n  -d '${body}'`);
  for (const link of document.querySelectorAll(".docs")) link.href = `${api}/docs`;
}

// The mock responds when something has changed, or after 25 seconds.
async function refresh() {
  polling = new AbortController();
  const signal = AbortSignal.any([polling.signal, AbortSignal.timeout(40_000)]);
  const response = await request(`api/inbox?limit=${limit}&after=${encodeURIComponent(version)}`, { signal });
  const view = await response.json();
  version = view.version;
  showFaults(view.faults, view.hits);
  showList(view.total, view.messages);
  showHint(view.api_url);
  setText($("status"), view.total === 1 ? "1 mail" : `${view.total} mails`);
  $("status").className = "";
  announceNew(view.messages);
  if (selected() && !$("mail").hidden) showCode();
  else await showMail();
  markCurrent();
  tick();
}

async function poll() {
  for (;;) {
    try {
      await refresh();
      // Limit the refresh rate while many mails arrive.
      await sleep(50);
    } catch (error) {
      if (error.name === "AbortError") continue; // restart() has aborted the request
      version = "";
      setText($("status"), "The mail server does not answer. Retrying …");
      $("status").className = "lost";
      await sleep(1000);
    }
  }
}

function restart() {
  version = "";
  polling?.abort();
}

// Keyboard and buttons

$("mails").addEventListener("keydown", (event) => {
  const links = [...document.querySelectorAll("#mails a")];
  const at = links.indexOf(document.activeElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: links.length - 1 }[event.key];
  if (to === undefined || at < 0) return;
  event.preventDefault();
  links[Math.min(Math.max(to, 0), links.length - 1)].focus();
});
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && selected() && !$("faults").contains(document.activeElement)) location.hash = "";
});

addEventListener("hashchange", () => showMail(true).catch(() => {}));
wide.addEventListener("change", () => showMail().catch(() => {}));
$("as-html").addEventListener("click", () => { part = "html"; showPart(); });
$("as-text").addEventListener("click", () => { part = "text"; showPart(); });
$("copy").addEventListener("click", () => copy($("copy"), codes.get(shown.ID).digits));
$("copy-try").addEventListener("click", () => copy($("copy-try"), $("try").textContent));
// Browsers provide the clipboard in secure contexts only (HTTPS or localhost).
for (const id of ["copy", "copy-try"]) $(id).hidden = !navigator.clipboard;
$("more").addEventListener("click", () => { limit += PAGE_SIZE; restart(); });
$("empty").addEventListener("click", async () => {
  if (!confirm("Delete all mails?")) return;
  await request("api/v1/messages", { method: "DELETE" }).catch(() => {});
  location.hash = "";
});

setInterval(tick, 200);
poll();
