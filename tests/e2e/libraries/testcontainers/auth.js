// What testcontainers for Node finds for a registry before it pulls. Usage: auth.js SERVER
// The package comes from the folder that NODE_PATH names.

const { getAuthConfig } = require("testcontainers/build/container-runtime");

getAuthConfig(process.argv[2]).then(
  (found) => console.log(JSON.stringify(found ?? null)),
  (error) => {
    console.log(`${error}`);
    process.exitCode = 1;
  },
);
