package main

import (
	"fmt"

	vitals "example.com/vitals-watch/gen/vitalsv1"
)

// view is what a watch has told so far. It takes each step, and proves itself at `synced`.
type view struct {
	entities map[string]*vitals.Entity
	// building is a snapshot that is not whole yet; what was there before stays until it is.
	building map[string]*vitals.Entity
}

// held is where the entities of a step go.
func (v *view) held() map[string]*vitals.Entity {
	if v.building != nil {
		return v.building
	}
	return v.entities
}

func (v *view) beginSnapshot() { v.building = map[string]*vitals.Entity{} }

// beginResume keeps the view: what changed since the token follows. Of a snapshot that was cut, nothing is kept.
func (v *view) beginResume() { v.building = nil }

// upsert takes an entity as it is now, and gives what was in sight of it before.
func (v *view) upsert(entity *vitals.Entity) *vitals.Entity {
	before := v.entities[entity.GetRef()]
	v.held()[entity.GetRef()] = entity
	return before
}

// remove forgets an entity, and tells whether it was in sight.
func (v *view) remove(ref string) bool {
	_, known := v.entities[ref]
	delete(v.held(), ref)
	return known
}

// synced ends a snapshot or a resume. It gives the references that a new snapshot does not name any more, and an error where
// the view is not the one that the hub means.
func (v *view) synced(said *vitals.Synced) (vanished []string, err error) {
	if v.building != nil {
		for ref := range v.entities {
			if _, known := v.building[ref]; !known {
				vanished = append(vanished, ref)
			}
		}
		v.entities, v.building = v.building, nil
	}
	count, digest := v.sum()
	if count != said.GetCount() || digest != said.GetDigest() {
		return vanished, fmt.Errorf("%d entities, digest %016x here; %d, %016x at the hub",
			count, digest, said.GetCount(), said.GetDigest())
	}
	return vanished, nil
}

// sum is the count and the digest: the digests of all entities, added modulo 2^64.
func (v *view) sum() (count, digest uint64) {
	for _, entity := range v.entities {
		digest += entity.GetDigest()
	}
	return uint64(len(v.entities)), digest
}
