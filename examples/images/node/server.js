const http = require("node:http");
const ms = require("ms");

http.createServer((request, response) => response.end(`next tide in ${ms(44700000)}\n`)).listen(3000);
process.on("SIGTERM", () => process.exit());
