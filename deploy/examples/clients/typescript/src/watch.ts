/**
 * Follows the health of entities at a Vitals hub, goes on where it was after a cut, and proves that what it holds is what the
 * hub holds. docs/clients.md says why it does what it does.
 */
import { readFileSync } from "node:fs";
import { setTimeout as rest } from "node:timers/promises";
import { parseArgs } from "node:util";

import { create } from "@bufbuild/protobuf";
import { timestampDate } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient, type Client } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";

import {
  EntityFilterSchema,
  EntityService,
  type Entity,
  type EntityFilter,
  type WatchEntitiesResponse,
} from "./gen/vitals/v1/entity_service_pb.js";
import { HealthStatus } from "./gen/vitals/v1/health_pb.js";
import { Differs, hex, View } from "./view.js";

/** A watch that says nothing for so long is dead: `progress` comes every 15 s. */
const SILENCE_MAX_MS = 45_000;
/** Between two connections; it doubles, with jitter. */
const PAUSE_MIN_MS = 200;
const PAUSE_MAX_MS = 5_000;

/** Trying again changes nothing. */
const FINAL = [Code.Unauthenticated, Code.PermissionDenied, Code.InvalidArgument, Code.Unimplemented];

/** Watches, and watches again where it was. */
class Follower {
  private readonly view = new View();
  /** Of the last `synced` or `progress`, for the same filter; empty asks for a snapshot. */
  private token: Uint8Array = new Uint8Array();
  private pauseMs = PAUSE_MIN_MS;

  constructor(
    private readonly client: Client<typeof EntityService>,
    private readonly filter: EntityFilter,
    private readonly headers: Record<string, string>,
    private readonly stop: AbortSignal,
  ) {}

  async follow(): Promise<void> {
    for (;;) {
      let reason = "the hub ended the watch";
      try {
        await this.watch();
      } catch (error) {
        if (this.stop.aborted) return;
        if (error instanceof Differs) {
          // Nothing is known any more: the next watch begins with a snapshot.
          this.token = new Uint8Array();
          reason = `the view differs: ${error.message}`;
        } else {
          const refusal = ConnectError.from(error);
          if (FINAL.includes(refusal.code)) throw refusal;
          reason = refusal.message;
        }
      }
      const pauseMs = this.pauseMs * (0.5 + Math.random());
      this.pauseMs = Math.min(2 * this.pauseMs, PAUSE_MAX_MS);
      console.error(`vitals-watch: ${reason}; again in ${Math.round(pauseMs)} ms`);
      await rest(pauseMs, undefined, { signal: this.stop }).catch(() => {});
      if (this.stop.aborted) return;
    }
  }

  /** Opens one watch and takes its steps until it ends. */
  private async watch(): Promise<void> {
    const silent = new AbortController();
    const end = () => silent.abort(new ConnectError("the hub is silent", Code.Unavailable));
    let silence = setTimeout(end, SILENCE_MAX_MS);
    const request = { filter: this.filter, resumeToken: this.token };
    const signal = AbortSignal.any([this.stop, silent.signal]);
    try {
      for await (const step of this.client.watchEntities(request, { headers: this.headers, signal })) {
        clearTimeout(silence);
        silence = setTimeout(end, SILENCE_MAX_MS);
        this.pauseMs = PAUSE_MIN_MS;
        this.apply(step);
      }
    } finally {
      clearTimeout(silence);
    }
  }

  private apply({ event }: WatchEntitiesResponse): void {
    switch (event.case) {
      case "snapshot":
        this.view.beginSnapshot();
        say("snapshot", event.value.reason);
        break;
      case "resumed":
        this.view.beginResume();
        say("resumed");
        break;
      case "upsert": {
        const entity = event.value;
        const before = this.view.upsert(entity);
        if (!before || word(before) !== word(entity)) {
          say(entity.ref, word(entity), entity.verdict?.message ?? "");
        }
        break;
      }
      case "removed":
        if (this.view.remove(event.value.ref)) say(event.value.ref, "gone");
        break;
      case "synced": {
        for (const ref of this.view.synced(event.value)) say(ref, "gone");
        this.token = event.value.token;
        say(`synced ${event.value.count} entities, digest ${hex(event.value.digest)}`);
        break;
      }
      case "progress":
        this.token = event.value.token;
        say("progress", event.value.asOf ? timestampDate(event.value.asOf).toISOString() : "");
        break;
      // A step of a newer hub, which this program does not know, says nothing that it needs.
      case undefined:
        break;
    }
  }
}

/** A status as people write it: Healthy. */
function word(entity: Entity): string {
  const name = HealthStatus[entity.verdict?.status ?? HealthStatus.UNSPECIFIED] ?? "UNKNOWN";
  return name.charAt(0) + name.slice(1).toLowerCase();
}

function say(...words: string[]): void {
  console.log(words.filter((word) => word !== "").join(" "));
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      hub: { type: "string", default: "127.0.0.1:7700" },
      "tls-ca": { type: "string" },
      "token-file": { type: "string" },
      namespaces: { type: "string", default: "" },
    },
  });
  const ca = values["tls-ca"];
  const headers: Record<string, string> = {};
  if (values["token-file"]) {
    if (!ca) throw new Error("a token is not sent without TLS: set --tls-ca");
    headers["authorization"] = `Bearer ${readFileSync(values["token-file"], "utf8").trim()}`;
  }
  const transport = createGrpcTransport({
    baseUrl: `${ca ? "https" : "http"}://${values.hub}`,
    nodeOptions: ca ? { ca: readFileSync(ca) } : {},
  });
  const namespaces = values.namespaces.split(",").filter((namespace) => namespace !== "");
  const filter = create(EntityFilterSchema, { namespaces });
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stop.abort());
  await new Follower(createClient(EntityService, transport), filter, headers, stop.signal).follow();
  // Connections that idle would keep the process for a while.
  process.exit(0);
}

main().catch((error: unknown) => {
  console.error(`vitals-watch: ${error instanceof Error ? error.message : String(error)}`);
  process.exit(1);
});
