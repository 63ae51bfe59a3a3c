// Node resolves imports only with their extensions. Bundlers need neither `module` nor this file.
export default { output: { path: "client", module: { extension: ".js" } } };
