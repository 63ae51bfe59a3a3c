// Names the controls that Swagger UI leaves without a good name, for screen readers.
const NAMES = {
  "#servers": "Server",
  ".body-param__text": "Request body",
  ".content-type": "Media type of the request body",
  ".response-control-media-type select": "Media type of the response",
  ".examples-select-element": "Example",
  ".parameters :is(input, select):not([aria-label])": "Value of the parameter",
  ".close-modal": "Close",
  "#auth-basic-username": "E-mail address",
  "#auth-basic-password": "Password",
  ".copy-to-clipboard button": "Copy",
};

function complete() {
  for (const [selector, name] of Object.entries(NAMES)) {
    for (const element of document.querySelectorAll(selector)) {
      const row = element.closest("[data-param-name]");
      element.setAttribute("aria-label", row?.dataset.paramName ?? name);
    }
  }
  // A landmark needs a name of its own.
  for (const table of document.querySelectorAll(".responses-table[role=region]")) {
    const text = (css) => table.closest(".opblock").querySelector(css).textContent;
    const operation = `${text(".opblock-summary-method")} ${text(".opblock-summary-path")}`;
    table.setAttribute("aria-label", `Responses of ${operation}`);
  }
  // The visible label must be the name. A new text is a mutation, so an equal one must stay.
  for (const label of document.querySelectorAll("label[for=auth-basic-username]")) {
    if (label.textContent !== "E-mail address:") label.textContent = "E-mail address:";
  }
  // The title is the heading of the page; Swagger UI starts at level 2.
  for (const heading of document.querySelectorAll("#ui :is(h2, h3, h4, h5)")) {
    heading.setAttribute("role", "heading");
    heading.setAttribute("aria-level", Number(heading.tagName[1]) - 1);
  }
  // A button must not contain a link that can be focused.
  for (const link of document.querySelectorAll("button a[href]")) link.removeAttribute("href");
  // The name must contain the visible text.
  for (const button of document.querySelectorAll(".auth-btn-wrapper [aria-label]")) button.removeAttribute("aria-label");
  // The keyboard must be able to scroll.
  for (const block of document.querySelectorAll("#ui pre")) block.tabIndex = 0;
}

// Swagger UI closes its dialogue only by a button.
document.addEventListener("keydown", ({ key }) => {
  if (key === "Escape") document.querySelector(".modal-ux .close-modal")?.click();
});

new MutationObserver(complete).observe(document.getElementById("ui"), { childList: true, subtree: true });
