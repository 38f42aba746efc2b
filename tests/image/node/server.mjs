// What a Node image has to have, told over HTTP by a package of npm; a native addon does the work once.
import express from "express";
import bufferutil from "bufferutil";
import { existsSync } from "node:fs";
import { rootCertificates } from "node:tls";
import { spawnSync } from "node:child_process";

const app = express();
app.get("/", async (request, response) => {
  const masked = Buffer.alloc(4);
  bufferutil.mask(Buffer.from([1, 2, 3, 4]), Buffer.from([255, 255, 255, 255]), masked, 0, 4);
  const addon = process.report.getReport().sharedObjects.some((path) => path.endsWith(".node"));
  const self = await fetch("data:text/plain,fetched").then((answer) => answer.text());
  response.json({
    masked: [...masked],
    addon,
    self,
    environment: process.env.NODE_ENV,
    zone: new Date(0).toLocaleString("de-DE", { timeZone: "Asia/Tokyo", timeZoneName: "long" }),
    user: process.getuid(),
    developed: existsSync("/app/node_modules/is-odd"),
    shell: spawnSync("/bin/sh", ["-c", "true"]).error?.code,
    authorities: rootCertificates.length > 100,
  });
});
const server = app.listen(8000);
process.on("SIGTERM", () => server.close(() => process.exit(0)));
