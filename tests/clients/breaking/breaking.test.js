// Tests breaking.js with changes of docs/openapi.json. The variable DOCUMENT names the document's file.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { env } from "node:process";
import { test } from "node:test";

import { breaking } from "./breaking.js";

const document = JSON.parse(readFileSync(env.DOCUMENT, "utf8"));
const users = "/v1/users";

function changed(change) {
  const after = structuredClone(document);
  const { paths, components } = after;
  change({ paths, schemas: components.schemas, list: paths[users].get, register: paths[users].post });
  return breaking(document, after);
}

const breakingChanges = {
  "an operation is removed": ({ paths }) => delete paths["/v1/users/me"].delete,
  "an operation gets another operationId": ({ list }) => (list.operationId = "getUsers"),
  "an operation gets another tag": ({ list }) => (list.tags = ["Account"]),
  "an operation requires credentials": ({ register }) => (register.security = [{ basic: [] }]),
  "a success response is removed": ({ register }) => delete register.responses["201"],
  "a response header is removed": ({ register }) => delete register.responses["201"].headers.Location,
  "a parameter is removed": ({ list }) => list.parameters.shift(),
  "a parameter becomes required": ({ list }) => (list.parameters[0].required = true),
  "a parameter's maximum is lowered": ({ list }) => (list.parameters[2].schema.maximum = 50),
  "a request gets a required member": ({ schemas: { RegisterUser } }) => {
    RegisterUser.properties.name = { type: "string" };
    RegisterUser.required.push("name");
  },
  "a member of a request is removed": ({ schemas }) => delete schemas.UpdateUser.properties.role,
  "a value's maximum length is lowered": ({ schemas }) => (schemas.RegisterUser.properties.password.maxLength = 64),
  "a value gets another pattern": ({ schemas }) => (schemas.ActivateUser.properties.code.pattern = "^[0-9]{6}$"),
  "a member of a response is removed": ({ schemas }) => delete schemas.User.properties.email,
  "a member of a response becomes optional": ({ schemas }) => schemas.Problem.required.pop(),
  "a member of a response gets another type": ({ schemas }) => (schemas.User.properties.id.type = "integer"),
  "a member of a response becomes nullable": ({ schemas }) => (schemas.User.properties.email.nullable = true),
  "an enum in a response gets another value": ({ schemas }) => schemas.Status.enum.push("locked"),
};
const compatibleChanges = {
  "nothing changes": () => {},
  "an operation is added": ({ paths }) => (paths["/v1/x"] = { get: { responses: { 200: { description: "" } } } }),
  "an error response is added": ({ register }) => (register.responses["418"] = { description: "" }),
  "a request gets an optional member": ({ schemas }) => (schemas.RegisterUser.properties.name = { type: "string" }),
  "a value's maximum length is raised": ({ schemas }) => (schemas.RegisterUser.properties.password.maxLength = 256),
  "a member of a response is added": ({ schemas }) => (schemas.User.properties.name = { type: "string" }),
  "an optional parameter is added": ({ list }) => list.parameters.push({ name: "q", in: "query", schema: { type: "string" } }),
  "a description changes": ({ register }) => (register.description = "Better"),
};

for (const [name, change] of Object.entries(breakingChanges)) {
  test(`${name}: breaks clients`, () => assert.notDeepEqual(changed(change), []));
}
for (const [name, change] of Object.entries(compatibleChanges)) {
  test(`${name}: does not break clients`, () => assert.deepEqual(changed(change), []));
}
