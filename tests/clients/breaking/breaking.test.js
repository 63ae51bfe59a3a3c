// Changes of our own document, and what is to be said of each. node --test takes the document from the environment.

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

const breaks = {
  "an operation is gone": ({ paths }) => delete paths["/v1/users/me"].delete,
  "an operation has another name": ({ list }) => (list.operationId = "getUsers"),
  "an operation has another tag": ({ list }) => (list.tags = ["Account"]),
  "an operation asks for credentials": ({ register }) => (register.security = [{ basic: [] }]),
  "a success is gone": ({ register }) => delete register.responses["201"],
  "a header is gone": ({ register }) => delete register.responses["201"].headers.Location,
  "a parameter is gone": ({ list }) => list.parameters.shift(),
  "a parameter is required": ({ list }) => (list.parameters[0].required = true),
  "a parameter may hold less": ({ list }) => (list.parameters[2].schema.maximum = 50),
  "a request has to hold more": ({ schemas: { RegisterUser } }) => {
    RegisterUser.properties.name = { type: "string" };
    RegisterUser.required.push("name");
  },
  "a request may hold less": ({ schemas }) => delete schemas.UpdateUser.properties.role,
  "a value may be shorter only": ({ schemas }) => (schemas.RegisterUser.properties.password.maxLength = 64),
  "a value has another pattern": ({ schemas }) => (schemas.ActivateUser.properties.code.pattern = "^[0-9]{6}$"),
  "an answer holds less": ({ schemas }) => delete schemas.User.properties.email,
  "an answer may lack a member": ({ schemas }) => schemas.Problem.required.pop(),
  "an answer has another type": ({ schemas }) => (schemas.User.properties.id.type = "integer"),
  "an answer may be null": ({ schemas }) => (schemas.User.properties.email.nullable = true),
  "an answer has another word": ({ schemas }) => schemas.Status.enum.push("locked"),
};
const passes = {
  "nothing changes": () => {},
  "there is another operation": ({ paths }) => (paths["/v1/x"] = { get: { responses: { 200: { description: "" } } } }),
  "there is another problem": ({ register }) => (register.responses["418"] = { description: "" }),
  "a request may hold more": ({ schemas }) => (schemas.RegisterUser.properties.name = { type: "string" }),
  "a value may be longer": ({ schemas }) => (schemas.RegisterUser.properties.password.maxLength = 256),
  "an answer holds more": ({ schemas }) => (schemas.User.properties.name = { type: "string" }),
  "there is another parameter": ({ list }) => list.parameters.push({ name: "q", in: "query", schema: { type: "string" } }),
  "a text is better": ({ register }) => (register.description = "Better"),
};

for (const [name, change] of Object.entries(breaks)) {
  test(`${name}: breaks clients`, () => assert.notDeepEqual(changed(change), []));
}
for (const [name, change] of Object.entries(passes)) {
  test(`${name}: does not`, () => assert.deepEqual(changed(change), []));
}
