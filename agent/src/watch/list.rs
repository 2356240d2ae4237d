//! The consistent list: as a stream where the server has that, else page by page.

use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout};

use super::{
    ResourceVersion, WatchItem,
    answer::{self, Failure},
    event::{Event, Line, Lines},
    plan::End,
    run::{Run, Stop, foreign},
};

/// Largest page that is read.
const PAGE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// A page of a list. Its objects stay raw JSON: one that cannot be decoded does not spoil the others.
#[derive(Deserialize)]
struct Page<'a> {
    metadata: PageMetadata,
    #[serde(borrow)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageMetadata {
    resource_version: Option<String>,
    r#continue: Option<String>,
}

impl Run {
    /// Lists, and after a streaming list follows the same stream.
    pub(super) async fn list(&mut self) -> Stop {
        let listed =
            if self.plan.is_streaming() { self.stream().await } else { self.pages().await };
        match listed {
            Ok(Some(lines)) => self.follow(lines, None).await,
            Ok(None) => Stop::Ended(End::Done),
            Err(stop) => stop,
        }
    }

    /// The newest version in the cluster: a consistent list of one object.
    pub(super) async fn newest(
        &self,
        answer_timeout: std::time::Duration,
    ) -> Result<ResourceVersion, Failure> {
        let page = self.page(&self.resource.page(1, None), answer_timeout).await?;
        version(&read_page(&page)?.metadata)
    }

    async fn stream(&mut self) -> Result<Option<Lines>, Stop> {
        let floor = self.newest(self.settings.list_timeout).await?;
        let rewound = self.plan.list_begins(floor)?;
        let path = self.resource.stream(self.settings.watch_timeout);
        let mut lines = self.open(&path, self.settings.list_timeout).await?;
        self.begin(floor, rewound).await?;
        let mut unnamed = 0;
        loop {
            let line = timeout(self.settings.list_timeout, lines.next()).await;
            let line = line.map_err(|_| Failure::Broken("the list does not go on".to_owned()))?;
            let Some(line) = line.map_err(|error| answer::broken(&error))? else {
                return Err(Failure::Broken("the list was cut".to_owned()).into());
            };
            let bytes = match line {
                Line::Read(bytes) => bytes,
                Line::TooLong => {
                    unnamed += 1;
                    self.listed(self.too_long(), None).await?;
                    continue;
                }
            };
            match Event::read(&bytes) {
                Event::Applied(object) => {
                    let (item, version) = self.project(object, WatchItem::Listed);
                    unnamed += is_unnamed(&item);
                    self.listed(item, version).await?;
                }
                Event::Deleted(object) => {
                    let (item, version) = self.deleted(object);
                    self.listed(item, version).await?;
                }
                Event::Bookmark { resource_version, ends_list: true } => {
                    self.end(parse(&resource_version)?, unnamed).await?;
                    return Ok(Some(lines));
                }
                Event::Bookmark { ends_list: false, .. } => {
                    let detail = "an old server: its streaming list has no end";
                    return Err(Failure::Refused(detail.to_owned()).into());
                }
                Event::Error(status) => return Err(answer::classify(&status, None).into()),
                Event::Foreign => return Err(foreign(&bytes).into()),
            }
        }
    }

    async fn pages(&mut self) -> Result<Option<Lines>, Stop> {
        let mut unnamed = 0;
        let mut list_version = None;
        let mut token: Option<String> = None;
        loop {
            let path = self.resource.page(self.plan.page_objects, token.as_deref());
            let bytes = self.page(&path, self.settings.list_timeout).await?;
            let page = read_page(&bytes)?;
            if list_version.is_none() {
                let version = version(&page.metadata)?;
                let rewound = self.plan.list_begins(version)?;
                self.begin(version, rewound).await?;
                list_version = Some(version);
            }
            for object in page.items.unwrap_or_default() {
                let object = object.get().as_bytes();
                let (item, version) = self.project(object, WatchItem::Listed);
                unnamed += is_unnamed(&item);
                self.listed(item, version).await?;
            }
            token = page.metadata.r#continue.filter(|token| !token.is_empty());
            if let (None, Some(version)) = (&token, list_version) {
                self.end(version, unnamed).await?;
                return Ok(None);
            }
        }
    }

    /// The bytes of a page.
    async fn page(
        &self,
        path: &str,
        answer_timeout: std::time::Duration,
    ) -> Result<Bytes, Failure> {
        let answer = answer::get(&self.client, path, answer_timeout).await?;
        let body = Limited::new(answer.into_body(), PAGE_BYTES_MAX).collect();
        let body = timeout(self.settings.list_timeout, body).await;
        match body.map_err(|_| Failure::Broken("the page does not go on".to_owned()))? {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(Failure::PageTooLarge),
            Err(error) => Err(answer::broken(&kube::Error::Service(error))),
        }
    }

    async fn begin(
        &mut self,
        resource_version: ResourceVersion,
        rewound: bool,
    ) -> Result<(), Stop> {
        self.listing = true;
        let item = WatchItem::ListStarted { resource_version, rewound };
        self.send(item).await.ok_or(Stop::Unheard)
    }

    async fn listed(
        &mut self,
        item: WatchItem,
        version: Option<ResourceVersion>,
    ) -> Result<(), Stop> {
        self.plan.list_goes_on(version, Instant::now());
        self.send(item).await.ok_or(Stop::Unheard)
    }

    async fn end(&mut self, resource_version: ResourceVersion, unnamed: u64) -> Result<(), Stop> {
        let state = self.plan.list_ended(resource_version, Instant::now());
        self.listing = false;
        let item = WatchItem::ListEnded { resource_version, unnamed };
        self.send(item).await.ok_or(Stop::Unheard)?;
        self.recovered(state).await.ok_or(Stop::Unheard)
    }
}

fn read_page(bytes: &[u8]) -> Result<Page<'_>, Failure> {
    serde_json::from_slice(bytes)
        .map_err(|error| Failure::Broken(answer::one_line(&format!("not a list: {error}"))))
}

fn version(metadata: &PageMetadata) -> Result<ResourceVersion, Failure> {
    parse(metadata.resource_version.as_deref().unwrap_or_default())
}

fn parse(text: &str) -> Result<ResourceVersion, Failure> {
    ResourceVersion::parse(text).ok_or_else(|| {
        Failure::Broken(answer::one_line(&format!("list version {text:?} is no number")))
    })
}

fn is_unnamed(item: &WatchItem) -> u64 {
    let WatchItem::Unreadable(unreadable) = item else { return 0 };
    u64::from(unreadable.name.is_none())
}
