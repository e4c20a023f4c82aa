// sharp at its best: each picture is decoded once, and each size is made of the next larger one's pixels.
//
// Reads a line of JSON for each run, {"photos", "out", "sizes", "formats", "quality", "method", "kernel", "in_flight"},
// and answers with what it took. Photo number N becomes OUT/N/SIZE.FORMAT.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const readline = require("node:readline");
const sharp = require("sharp");

sharp.cache(false);
sharp.concurrency(1); // pictures beside each other fill the cores, not threads within one

const FORMATS = {
  jpeg: (picture, run) => picture.jpeg({ quality: run.quality }), // 4:2:0 with its own Huffman tables by default
  webp: (picture, run) => picture.webp({ quality: run.quality, effort: run.method }),
};

async function turn(photo, folder, run) {
  fs.mkdirSync(folder, { recursive: true });
  let larger = sharp(photo, { sequentialRead: true }).autoOrient();
  for (const size of [...run.sizes].sort((a, b) => b - a)) {
    const options = { fit: "inside", withoutEnlargement: true, kernel: run.kernel };
    const { data, info } = await larger.resize(size, size, options).raw().toBuffer({ resolveWithObject: true });
    const { width, height, channels } = info;
    const still = () => sharp(data, { raw: { width, height, channels } });
    for (const format of run.formats) {
      await FORMATS[format](still(), run).toFile(path.join(folder, `${size}.${format}`));
    }
    larger = still();
  }
}

async function measured(run) {
  const before = process.cpuUsage();
  const started = process.hrtime.bigint();
  let next = 0;
  const lane = async () => {
    while (next < run.photos.length) {
      const number = next++;
      await turn(run.photos[number], path.join(run.out, String(number)), run);
    }
  };
  await Promise.all(Array.from({ length: run.in_flight }, lane));
  const wall_s = Number(process.hrtime.bigint() - started) / 1e9;
  const { user, system } = process.cpuUsage(before);
  return { wall_s, cpu_s: (user + system) / 1e6 };
}

async function main() {
  const { sharp: own, vips, webp } = sharp.versions;
  console.log(JSON.stringify({ versions: { sharp: own, vips, webp } }));
  for await (const line of readline.createInterface({ input: process.stdin })) {
    console.log(JSON.stringify(await measured(JSON.parse(line))));
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
