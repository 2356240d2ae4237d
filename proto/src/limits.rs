//! The numbers of the protocol. What stands here is said to others: an agent and a hub must agree on it.

use std::time::Duration;

/// Between two heartbeats of a scope.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);

/// Silence of a scope, of an epoch, or of a UID, after which it counts as gone. Four heartbeats.
pub const SILENCE_MAX: Duration = Duration::from_secs(20);

/// Without a verification for so long, a cluster counts as unverified although heartbeats come. Six heartbeats.
pub const VERIFIED_AGE_MAX: Duration = Duration::from_secs(30);

/// A timer that fires so much too late was frozen: the agent may have lost the Lease, and lists again.
pub const FREEZE_MIN: Duration = Duration::from_secs(10);

/// How long a tombstone stands (`Nats-TTL`). A hub that was away for longer takes a snapshot.
pub const TOMBSTONE_TTL: Duration = Duration::from_secs(3_600);

/// Largest message that OBJECTS takes (`max_msg_size`), headers included. Bytes.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Largest facts, encoded: leaves room in a message for keys, headers and the names of what was cut. Bytes.
pub const FACTS_BYTES_MAX: usize = 60 * 1024;

/// Most held objects in one `RepairRequest`: about 512 KB of subjects and digests. A larger bucket is asked for in parts.
pub const REPAIR_HELD_MAX: usize = 4_096;

/// Silence of a watch after which it sends `progress`.
pub const PROGRESS_INTERVAL: Duration = Duration::from_secs(15);

/// Most bytes of one piece of a log.
pub const LOG_CHUNK_BYTES_MAX: usize = 16 * 1024;

/// Most pieces of a log that are under way.
pub const LOG_WINDOW: u32 = 32;

/// Between two credits of a log, at most: so often is the agent's permission to answer renewed.
pub const LOG_CREDIT_INTERVAL: Duration = Duration::from_secs(1);

/// Without a credit for so long, nobody reads a log any more.
pub const LOG_CREDIT_TIMEOUT: Duration = Duration::from_secs(10);

/// Silence of a log after which its agent says that it is there.
pub const LOG_KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// Silence of a log after which its agent counts as gone.
pub const LOG_SILENCE_MAX: Duration = Duration::from_secs(20);

/// Most events of an object that are given.
pub const EVENTS_MAX: usize = 200;
