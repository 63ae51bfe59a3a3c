// Whatever a mail says is set by textContent; its HTML is a sandboxed document of its own.

const PAGE = 50;
const $ = (id) => document.getElementById(id);

let limit = PAGE;
let seen = "";
let shown = null; // the mail on the right
let part = null; // the part that the reader asked for, if any

async function ask(path, options) {
  const response = await fetch(path, { signal: AbortSignal.timeout(5000), ...options });
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
  add("span", "snippet", mail.Snippet);
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
function showList({ total, messages }) {
  const list = $("mails");
  const wanted = new Set(messages.map((mail) => `mail-${mail.ID}`));
  for (const item of [...list.children]) if (!wanted.has(item.id)) item.remove();
  messages.forEach((mail, index) => {
    if (list.children[index]?.id !== `mail-${mail.ID}`) list.insertBefore(row(mail), list.children[index] ?? null);
  });
  $("none").hidden = total > 0;
  $("more").hidden = messages.length >= total;
  $("empty").disabled = total === 0;
  document.title = total ? `Inbox (${total})` : "Inbox";
  markCurrent();
}

function markCurrent() {
  for (const link of document.querySelectorAll("#mails a")) {
    if (shown && link.hash === `#${shown.ID}`) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}

function showFaults(faults) {
  const percent = (share) => `${+(share * 100).toFixed(1)} %`;
  const now = [];
  if (faults.latency_ms) now.push(`each waits ${faults.latency_ms} ms`);
  if (faults.fail_rate) now.push(`${percent(faults.fail_rate)} fail with ${faults.status}`);
  if (faults.drop_rate) now.push(`${percent(faults.drop_rate)} are taken without an answer`);
  setText($("faults"), now.length ? `Faults in force when sending: ${now.join("; ")}.` : "");
  $("faults").hidden = now.length === 0;
}

// An unchanged text is left alone: a live region would be read out again.
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// One mail

async function showMail() {
  const id = decodeURIComponent(location.hash.slice(1));
  const response = id ? await ask(`api/v1/message/${encodeURIComponent(id)}`) : null;
  if (id !== decodeURIComponent(location.hash.slice(1))) return; // the reader has moved on
  const left = shown && $(`mail-${shown.ID}`);
  shown = response?.ok ? await response.json() : null;

  document.body.classList.toggle("reading", shown !== null);
  $("mail").hidden = shown === null;
  $("hint").hidden = shown !== null;
  markCurrent();
  if (!shown) {
    left?.querySelector("a").focus();
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
  $("mail").focus({ preventScroll: true });
}

function showPart() {
  const html = shown.HTML !== "" && part !== "text";
  $("html").hidden = !html;
  $("text").hidden = html;
  $("as-html").setAttribute("aria-pressed", html);
  $("as-text").setAttribute("aria-pressed", !html);
}

// Links work in the text: the frame's may not open anything.
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

async function refresh() {
  try {
    const [list, faults] = await Promise.all([ask(`api/v1/messages?limit=${limit}`), ask("api/faults")]);
    const text = await list.text();
    showFaults(await faults.json());
    const { total } = JSON.parse(text);
    if (text !== seen) showList(JSON.parse(text));
    seen = text;
    setText($("status"), total === 1 ? "1 mail" : `${total} mails`);
    $("status").className = "";
  } catch {
    setText($("status"), "The mail server does not answer; trying again.");
    $("status").className = "lost";
  }
}

async function poll() {
  await refresh();
  setTimeout(poll, 1000);
}

addEventListener("hashchange", () => showMail().catch(refresh));
$("as-html").addEventListener("click", () => { part = "html"; showPart(); });
$("as-text").addEventListener("click", () => { part = "text"; showPart(); });
$("more").addEventListener("click", () => { limit += PAGE; refresh(); });
$("empty").addEventListener("click", async () => {
  if (!confirm("Delete all mails?")) return;
  await ask("api/v1/messages", { method: "DELETE" }).catch(() => {});
  location.hash = "";
  refresh();
});

poll();
showMail().catch(refresh);
