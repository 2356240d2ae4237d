//! The closed set of reason codes, of objects and of entities.

use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// Why a verdict is what it is. The code on the wire is the name of the variant; that of [`Reason::None`] is empty.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            /// Nothing to explain: healthy.
            None,
            $($(#[$doc])+ $name,)+
        }

        impl Reason {
            /// All of them, in their order.
            pub const ALL: &'static [Self] = &[Self::None, $(Self::$name,)+];

            /// The code on the wire.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self {
                    Self::None => "",
                    $(Self::$name => stringify!($name),)+
                }
            }
        }
    };
}

reasons! {
    // Of any object.
    /// Somebody asked for its deletion.
    PendingDeletion,
    /// The message could not be decoded, or is of another kind than its subject says.
    NotUnderstood,
    /// The agent cut a part that the rule reads.
    FactsTruncated,
    /// This hub has no rule for the kind.
    KindNotJudged,
    /// The controller has not seen the latest generation.
    GenerationNotObserved,

    // Of workloads.
    /// `spec.paused`.
    Paused,
    /// The Deployment's own deadline passed.
    ProgressDeadlineExceeded,
    /// Not all replicas are of the newest template.
    RolloutInProgress,
    /// Replicas of an older template are still there.
    OldReplicasPending,
    /// Fewer replicas are available than should be.
    ReplicasUnavailable,
    /// The API server refuses new pods (quota, policy, webhook).
    ReplicaFailure,

    // Of pods.
    /// A container waits after it failed again and again.
    ContainerCrashLooping,
    /// An image cannot be pulled, or its name is no name.
    ImagePullFailed,
    /// A container cannot be made: mostly a ConfigMap or Secret that is missing.
    ContainerConfigError,
    /// A container cannot be started.
    ContainerStartFailed,
    /// A container that must finish before the others start cannot.
    InitContainerFailing,
    /// No node takes the pod.
    Unschedulable,
    /// `Pending`.
    PodPending,
    /// `Running`, and not ready yet.
    PodNotReady,
    /// `Running`, and not ready after a container had ended.
    PodNotReadyAfterRestart,
    /// `Running`, and meant to end by itself.
    PodRunning,
    /// `Failed`.
    PodFailed,
    /// `Failed`, for the node had to get rid of it.
    PodEvicted,
    /// The node does not say in which phase the pod is.
    PodPhaseUnknown,

    // Of Jobs and CronJobs.
    /// A Job gave up: as many pods of it failed as may.
    BackoffLimitExceeded,
    /// A Job did not end in time.
    DeadlineExceeded,
    /// A Job failed otherwise.
    JobFailed,
    /// A Job has not ended yet.
    JobRunning,
    /// A Job is suspended.
    JobSuspended,
    /// The last run of a CronJob did not succeed.
    RunFailed,
    /// A CronJob has not run yet.
    NotRunYet,

    // Of other kinds.
    /// An autoscaler cannot scale, or has no metrics to go by.
    AutoscalingFailed,
    /// An autoscaler wants more replicas than its maximum.
    AutoscalingLimited,
    /// An autoscaler has not been looked at by its controller yet.
    AutoscalerPending,
    /// A claim waits for a volume.
    ClaimPending,
    /// The volume of a claim is gone.
    ClaimLost,
    /// A claim is in a phase that is not known.
    ClaimPhaseUnknown,
    /// A volume could not be given back.
    VolumeFailed,
    /// A volume is not ready to be bound yet.
    VolumePending,
    /// A volume is in a phase that is not known.
    VolumePhaseUnknown,
    /// A disruption budget cannot be reckoned.
    BudgetFailed,
    /// A disruption budget has not been reckoned yet.
    BudgetPending,
    /// A disruption budget lets no pod go while some are not healthy.
    DisruptionBlocked,
    /// A Service that traffic is routed to does not exist.
    BackendMissing,
    /// No load balancer has an address yet.
    LoadBalancerPending,
    /// `Ready` is not `True`.
    NodeNotReady,
    /// `Terminating`.
    NamespaceTerminating,

    // Of custom resources, and of the API's own extensions.
    /// `Reconciling` is `True`.
    ResourceReconciling,
    /// `Stalled` is `True`.
    ResourceStalled,
    /// It says that it is not ready.
    ResourceNotReady,
    /// It says that it is degraded.
    ResourceDegraded,
    /// It says that something of it is missing.
    ResourceMissing,
    /// It says how it is in a word that is not known.
    StatusWordUnknown,
    /// A group of the API does not answer.
    ApiServiceUnavailable,
    /// The API server does not take a CustomResourceDefinition.
    DefinitionRejected,
    /// The API server does not serve a CustomResourceDefinition yet.
    DefinitionPending,
    /// An Argo Workflow has not ended yet.
    WorkflowRunning,
    /// An Argo Workflow failed.
    WorkflowFailed,
    /// An Argo Rollout was aborted, took too long, or makes no sense.
    RolloutFailed,

    // Of entities.
    /// It is registered, and has no object.
    NoObjects,
    /// It is registered, and a cluster where it could be is not seen.
    ClusterNotSeen,
    /// The cluster was not verified since this hub began to read, or not for 30 s.
    Unverified,
    /// A kind that matters cannot be read.
    BlindSpot,
    /// The agent cannot reach its API server.
    ApiServerUnreachable,
    /// No heartbeat for 20 s.
    AgentLost,
    /// Two clusters use one name.
    ClusterConflict,
    /// The hub is cut from NATS.
    HubBlind,
}

impl Reason {
    /// How much it says of the cause, the most first: of several bad things the one is told that explains the others.
    pub(crate) const fn generality(self) -> u8 {
        match self {
            Self::ReplicaFailure
            | Self::ContainerConfigError
            | Self::ImagePullFailed
            | Self::ContainerStartFailed
            | Self::InitContainerFailing
            | Self::ClaimLost => 0,
            Self::ContainerCrashLooping | Self::Unschedulable | Self::BackendMissing => 1,
            Self::PodEvicted | Self::PodFailed | Self::PodNotReadyAfterRestart => 2,
            Self::FactsTruncated
            | Self::NotUnderstood
            | Self::PodPhaseUnknown
            | Self::ClaimPhaseUnknown
            | Self::VolumePhaseUnknown
            | Self::BackoffLimitExceeded
            | Self::DeadlineExceeded
            | Self::JobFailed
            | Self::WorkflowFailed
            | Self::DefinitionRejected
            | Self::StatusWordUnknown => 3,
            Self::NodeNotReady
            | Self::ProgressDeadlineExceeded
            | Self::RunFailed
            | Self::RolloutFailed
            | Self::ResourceStalled
            | Self::ResourceDegraded
            | Self::ResourceMissing => 4,
            Self::RolloutInProgress | Self::OldReplicasPending | Self::GenerationNotObserved => 5,
            Self::ReplicasUnavailable | Self::Paused => 6,
            Self::PodPending
            | Self::PodNotReady
            | Self::PodRunning
            | Self::AutoscalingFailed
            | Self::AutoscalingLimited
            | Self::BudgetFailed
            | Self::VolumeFailed
            | Self::DisruptionBlocked => 7,
            Self::LoadBalancerPending
            | Self::NamespaceTerminating
            | Self::PendingDeletion
            | Self::ClaimPending
            | Self::VolumePending
            | Self::JobRunning
            | Self::JobSuspended
            | Self::NotRunYet
            | Self::AutoscalerPending
            | Self::BudgetPending
            | Self::ResourceReconciling
            | Self::ResourceNotReady
            | Self::ApiServiceUnavailable
            | Self::DefinitionPending
            | Self::WorkflowRunning => 8,
            Self::None
            | Self::KindNotJudged
            | Self::NoObjects
            | Self::ClusterNotSeen
            | Self::Unverified
            | Self::BlindSpot
            | Self::ApiServerUnreachable
            | Self::AgentLost
            | Self::ClusterConflict
            | Self::HubBlind => 9,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.code())
    }
}
