// The live page: verdict, shards, hot keys; then what can be done.

import * as act from "./act.js";
import { follow } from "./feed.js";
import { clock, write } from "./format.js";
import * as keys from "./keys.js";
import * as scenarios from "./scenarios.js";
import * as shards from "./shards.js";
import * as store from "./store.js";

const element = (id) => document.getElementById(id);

function live(state, text) {
  const line = element("live");
  line.dataset.state = state;
  write(line, text);
}

function verdict({ kernel, gateway, agree, cause }) {
  const told = kernel ?? gateway;
  element("verdict").dataset.state = told?.state ?? "none";
  write(element("verdict-state"), told ? told.state : "no verdict");
  write(element("verdict-sentence"), told?.sentence ?? cause ?? "");
  const both = kernel && gateway;
  const agreement = agree === false ? "Kernel and gateway differ" : agree ? "Kernel and gateway agree" : kernel ? "From the kernel alone" : "From the gateway alone";
  write(element("verdict-agree"), cause ? `${agreement}: ${cause}.` : `${agreement}.`);
  const other = element("verdict-gateway");
  other.hidden = !(both && cause);
  write(other, both ? `Gateway: ${gateway.sentence}` : "");
  // Read aloud only when it is another verdict, not with every figure.
  const blame = told?.key ? `, shard ${told.shard_id}, key ${told.key}` : told?.shard_id != null ? `, shard ${told.shard_id}` : "";
  write(element("announce"), told ? `${told.state}${blame}` : "");
}

follow({
  hello({ links, past }) {
    live("live", "live");
    shards.remember(past);
    act.begin(links.gateway);
    scenarios.begin(links.scenarios);
  },
  second(second) {
    live("live", `live, ${clock(new Date(second.taken_at * 1000))}`);
    verdict(second.verdicts);
    shards.update(second);
    keys.update(second.shards);
    store.update(second.store);
  },
  lost(since) {
    live("lost", `probe not reachable since ${clock(since)}; reconnecting`);
    shards.interrupt();
  },
});
