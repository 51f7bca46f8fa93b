// Builds the dashboard into ../static: `npm run build`, or `npm run watch` while editing.
//
// The result depends on the sources alone - no time, no machine's paths - so that a rebuild is byte
// for byte the same, which a test compares. manifest.json lists every file with its size and sha256;
// the build id, under which the server publishes the files, is the beginning of the manifest's own hash.

import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const target = process.env.DASHBOARD_OUT ?? join(here, "..", "static");

/** Everything that is loaded by its own name; what several of them share becomes chunk-HASH.js. */
const entries = {
  app: "src/main.tsx",
  theme: "src/theme-early.ts",
  style: "src/styles/style.css",
  pages: "src/styles/pages.css",
  ...Object.fromEntries(
    readdirSync(join(here, "src/pages"))
      .filter((name) => name.endsWith(".tsx"))
      .sort()
      .map((name) => [basename(name, ".tsx"), `src/pages/${name}`]),
  ),
  ...Object.fromEntries(
    readdirSync(join(here, "src"))
      .filter((name) => name.endsWith(".worker.ts"))
      .sort()
      .map((name) => [basename(name, ".worker.ts"), `src/${name}`]),
  ),
};

const options = {
  absWorkingDir: here,
  preserveSymlinks: true, // names of chunks hang on paths: a linked node_modules must not change them
  entryPoints: Object.entries(entries).map(([out, path]) => ({ in: path, out })),
  outdir: target,
  bundle: true,
  splitting: true,
  format: "esm",
  target: ["chrome123", "firefox128", "safari17.5"],
  minify: true,
  legalComments: "none", // licenses.txt carries them all
  chunkNames: "[name]-[hash]",
  jsx: "automatic",
  jsxImportSource: "preact",
  write: false,
  logLevel: "info",
};

/** The licences of what is shipped, as their packages state them. */
function licenses() {
  const { dependencies } = JSON.parse(readFileSync(join(here, "package.json"), "utf8"));
  const texts = [...Object.keys(dependencies), "@preact/signals-core"].sort().map((name) => {
    const folder = join(here, "node_modules", name);
    const file = readdirSync(folder).find((each) => /^licen[cs]e/i.test(each));
    return `${name}\n\n${readFileSync(join(folder, file), "utf8").trim()}\n`;
  });
  return Buffer.from(texts.join("\n" + "-".repeat(80) + "\n\n"));
}

function publish(result) {
  rmSync(target, { recursive: true, force: true });
  mkdirSync(target, { recursive: true });
  const files = new Map(result.outputFiles.map((file) => [basename(file.path), file.contents]));
  for (const name of ["index.html", "icon.svg"]) files.set(name, readFileSync(join(here, name)));
  files.set("licenses.txt", licenses());
  const manifest = [...files].sort(([a], [b]) => (a < b ? -1 : 1)).map(([file, contents]) => ({
    file,
    bytes: contents.length,
    sha256: createHash("sha256").update(contents).digest("hex"),
  }));
  for (const [name, contents] of files) writeFileSync(join(target, name), contents);
  const text = JSON.stringify(manifest, null, 1) + "\n";
  writeFileSync(join(target, "manifest.json"), text);
  const build = createHash("sha256").update(text).digest("hex").slice(0, 12);
  console.log(`build ${build}: ${files.size} files, ${manifest.reduce((n, f) => n + f.bytes, 0)} bytes`);
}

if (process.argv.includes("--watch")) {
  const plugin = {
    name: "publish",
    setup: (build) => build.onEnd((result) => { if (!result.errors.length) publish(result); }),
  };
  await (await esbuild.context({ ...options, plugins: [plugin] })).watch();
} else {
  publish(await esbuild.build(options));
}
