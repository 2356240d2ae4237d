import type { Entity, Synced } from "./gen/vitals/v1/entity_service_pb.js";

/** The view is not the one that the hub means. */
export class Differs extends Error {}

/** What a watch has told so far. It takes each step, and proves itself at `synced`. */
export class View {
  private entities = new Map<string, Entity>();
  /** A snapshot that is not whole yet; what was there before stays until it is. */
  private building: Map<string, Entity> | undefined;

  beginSnapshot(): void {
    this.building = new Map();
  }

  /** Keeps the view: what changed since the token follows. Of a snapshot that was cut, nothing is kept. */
  beginResume(): void {
    this.building = undefined;
  }

  /** Takes an entity as it is now, and gives what was in sight of it before. */
  upsert(entity: Entity): Entity | undefined {
    const before = this.entities.get(entity.ref);
    (this.building ?? this.entities).set(entity.ref, entity);
    return before;
  }

  /** Forgets an entity, and tells whether it was in sight. */
  remove(ref: string): boolean {
    const known = this.entities.has(ref);
    (this.building ?? this.entities).delete(ref);
    return known;
  }

  /** Ends a snapshot or a resume. Gives the references that a new snapshot does not name any more. */
  synced(said: Synced): string[] {
    let vanished: string[] = [];
    if (this.building) {
      const built = this.building;
      vanished = [...this.entities.keys()].filter((ref) => !built.has(ref));
      this.entities = built;
      this.building = undefined;
    }
    const { count, digest } = this.sum();
    if (count !== said.count || digest !== said.digest) {
      const [here, there] = [hex(digest), hex(said.digest)];
      throw new Differs(`${count} entities, digest ${here} here; ${said.count}, ${there} at the hub`);
    }
    return vanished;
  }

  /** Count and digest: the digests of all entities, added modulo 2^64. */
  private sum(): { count: bigint; digest: bigint } {
    let digest = 0n;
    for (const entity of this.entities.values()) {
      digest = BigInt.asUintN(64, digest + entity.digest);
    }
    return { count: BigInt(this.entities.size), digest };
  }
}

/** As the other clients write it: 16 digits. */
export function hex(digest: bigint): string {
  return digest.toString(16).padStart(16, "0");
}
