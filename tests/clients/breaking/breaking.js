// Lists the changes between two OpenAPI documents that break clients of the older one.

import { readFileSync } from "node:fs";
import { argv, exit } from "node:process";
import { fileURLToPath } from "node:url";

import { apiDiff } from "api-smart-diff";

/** Changes that api-smart-diff accepts and that break generated clients. */
function breaksClients({ action, path }) {
  const [last, parent] = [path.at(-1), path.at(-2)];
  // The generated client's method gets another name.
  if (last === "operationId" || parent === "tags") return true;
  // A member gets another type or becomes nullable.
  if (action !== "remove" && (last === "type" || last === "nullable") && parent !== "properties") return true;
  // The service refuses unknown members in a request, so it refuses the removed member, too.
  return action === "remove" && parent === "properties" && path.includes("requestBody");
}

/** Returns lines such as `POST /v1/users: remove responses/201`. */
export function breaking(before, after) {
  // apiDiff reports a change of a component also at each path that uses the component.
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
