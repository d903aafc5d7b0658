// Writes ../dashboards/*.json, or with --check compares them with this source.

import { createHash } from 'node:crypto';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';

import { anyStore } from './any-store.mjs';
import { hotPartition } from './hot-partition.mjs';
import { kernelVsApp } from './kernel-vs-app.mjs';
import { probeHealth } from './probe-health.mjs';

const here = new URL('./', import.meta.url);
const read = (name) => readFileSync(new URL(name, here), 'utf8');

const outputs = [hotPartition(), kernelVsApp(), probeHealth(), anyStore()].map((dashboard) => ({
  name: `../dashboards/${dashboard.uid}.json`,
  text: `${JSON.stringify(dashboard, null, 2)}\n`,
}));

// With checksums, a test without Node can check that source and dashboards match (sha256sum --check).
const sources = readdirSync(here).filter((name) => /\.mjs$|^package(-lock)?\.json$/.test(name)).sort();
const digest = ({ name, text }) => `${createHash('sha256').update(text).digest('hex')}  ${name}`;
const listed = [...sources.map((name) => ({ name, text: read(name) })), ...outputs];
outputs.push({ name: 'checksums.txt', text: `${listed.map(digest).join('\n')}\n` });

if (process.argv.includes('--check')) {
  const differ = ({ name, text }) => {
    try {
      return read(name) !== text;
    } catch {
      return true;
    }
  };
  const stale = outputs.filter(differ).map(({ name }) => name);
  if (stale.length > 0) {
    console.error(`not what grafana/source gives: ${stale.join(', ')}; run: cargo xtask dashboards --write`);
    process.exit(1);
  }
  console.log(`${outputs.length} files are what grafana/source gives.`);
} else {
  outputs.forEach(({ name, text }) => writeFileSync(new URL(name, here), text));
  console.log(`${outputs.length} files are written.`);
}
