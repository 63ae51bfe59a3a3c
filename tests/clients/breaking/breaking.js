// Names what of a changed OpenAPI document breaks the clients of the one before.

import { readFileSync } from "node:fs";
import { argv, exit } from "node:process";
import { fileURLToPath } from "node:url";

import { apiDiff } from "api-smart-diff";

/** What api-smart-diff lets pass, and generated clients do not. */
function breaksClients({ action, path }) {
  const [last, parent] = [path.at(-1), path.at(-2)];
  // A method of the client has another name.
  if (last === "operationId" || parent === "tags") return true;
  // A member has another type, or may be null now.
  if (action !== "remove" && (last === "type" || last === "nullable") && parent !== "properties") return true;
  // Our requests are closed: a member that is no longer named is refused.
  return action === "remove" && parent === "properties" && path.includes("requestBody");
}

/** Lines such as `POST /v1/users: remove responses/201`. */
export function breaking(before, after) {
  // What is in components counts where it is used.
  const changes = apiDiff(before, after).filter(({ path }) => path[0] === "paths");
  const broken = changes.filter((change) => change.type === "breaking" || breaksClients(change));
  const lines = broken.map(({ action, path: [, path, method, ...rest] }) =>
    `${method?.toUpperCase() ?? "all of"} ${path}: ${action} ${rest.join("/") || "it"}`,
  );
  return [...new Set(lines)];
}

if (argv[1] === fileURLToPath(import.meta.url)) {
  const [before, after] = argv.slice(2).map((file) => JSON.parse(readFileSync(file, "utf8")));
  const lines = breaking(before, after);
  for (const line of lines) console.log(`BREAKS CLIENTS: ${line}`);
  exit(lines.length ? 1 : 0);
}
