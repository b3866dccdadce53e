//! The loop guard, processor side (PROTOCOL rules B2, G; TWOWAY T11): says of an event whether the engine itself wrote it, and
//! for which neighbour site, by what the event carries of the database's own log.
//!
//! A write of direction `a→b` is tagged with `a`, the site it came from. Direction `b→a` reads it in b's log and drops it, for its
//! tag is that direction's target. Tags of other sites pass: in a chain they carry the change on. Snapshot reads carry no origin and
//! pass (rule B8). The guard looks at one record at a time, keeps no state, allocates nothing and does no I/O.
//!
//! Here are also the names themselves: what a writer puts into the log comes from the same [`SiteTags`] as what the guard looks for.
//! These forms are on disk in users' logs; they never change.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::data::Arena;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::record::Source;

/// First of the 2^24 server ids that the engine uses on MariaDB: 'T' in the highest byte keeps clear of the small numbers people choose.
pub const SERVER_ID_BASE: u32 = 0x5400_0000;

/// How the engine's writes are marked in the log of one site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// MySQL: an own GTID per transaction. The first half of its uuid is the tag.
    Gtid,
    /// MariaDB: a server id of our own for the session.
    ServerId,
    /// PostgreSQL: a replication origin for the session.
    ReplicationOrigin,
    /// Our own trigger capture: the tag column of the change log.
    Capture,
}

impl Strategy {
    /// The name in configuration, `check` and logs.
    pub fn name(self) -> &'static str {
        match self {
            Strategy::Gtid => "gtid",
            Strategy::ServerId => "server_id",
            Strategy::ReplicationOrigin => "replication_origin",
            Strategy::Capture => "capture",
        }
    }
}

/// A site as the guard needs it.
#[derive(Clone, Debug)]
pub struct GuardSite {
    /// Its configured name.
    pub name: Arc<str>,
    /// Overrides the computed server id of writes that come *from* this site (MariaDB).
    pub server_id: Option<u32>,
}

impl GuardSite {
    /// A site with the computed server id.
    pub fn named(name: &str) -> GuardSite {
        GuardSite { name: name.into(), server_id: None }
    }
}

#[derive(Clone, Debug)]
struct Tag {
    name: Arc<str>,
    gtid_half: u64,
    server_id: u32,
    origin_prefix: Box<str>,
}

/// The tags of all sites of one pipeline, known to be different from each other.
#[derive(Clone, Debug)]
pub struct SiteTags {
    pipeline: Arc<str>,
    tags: Vec<Tag>,
}

impl SiteTags {
    /// Computes the tags of all sites of a pipeline.
    ///
    /// # Errors
    /// `Configuration` if a name is empty or holds `:` (it separates the parts of an origin's name), if a name is there twice, or if
    /// the tags of two sites are the same number: then an event of one would be dropped as an echo of the other.
    pub fn new(pipeline: &str, sites: &[GuardSite]) -> Result<SiteTags> {
        check_name("pipeline", pipeline)?;
        let mut tags: Vec<Tag> = Vec::with_capacity(sites.len());
        for site in sites {
            check_name("site", &site.name)?;
            let hash = tag_hash(pipeline, &site.name);
            let tag = Tag {
                name: Arc::clone(&site.name),
                gtid_half: hash,
                server_id: site.server_id.unwrap_or(SERVER_ID_BASE | (hash & 0x00ff_ffff) as u32),
                origin_prefix: format!("tidelock:{pipeline}:{}:", site.name).into(),
            };
            if tag.server_id == 0 {
                return Err(refuse(format!(
                    "site {:?} has server_id 0, which marks snapshots; choose another",
                    site.name
                )));
            }
            for other in &tags {
                if other.name == tag.name {
                    return Err(refuse(format!("site {:?} is there twice", site.name)));
                }
                if other.server_id == tag.server_id {
                    return Err(refuse(format!(
                        "sites {:?} and {:?} have the same server_id {}; set `server_id` of one of them to a free number",
                        other.name, tag.name, tag.server_id
                    )));
                }
                if other.gtid_half == tag.gtid_half {
                    return Err(refuse(format!(
                        "sites {:?} and {:?} have the same gtid tag {:016x}; rename one of them",
                        other.name, tag.name, tag.gtid_half
                    )));
                }
            }
            tags.push(tag);
        }
        Ok(SiteTags { pipeline: pipeline.into(), tags })
    }

    /// The pipeline that these tags belong to.
    pub fn pipeline(&self) -> &str {
        &self.pipeline
    }

    /// First half of the uuid of every GTID that marks a write that came from `site`.
    ///
    /// # Errors
    /// `Configuration` if there is no such site; so for all that follow.
    pub fn gtid_half(&self, site: &str) -> Result<u64> {
        Ok(self.tag(site)?.gtid_half)
    }

    /// The uuid under which one writer numbers its transactions: the tag of `from`, then 32 bits of hash of the server that is written
    /// to (its `@@server_uuid`) and the slot. With the server in it no two servers ever give one number to two transactions: after a
    /// fail-over that lost some, the old server's are seen as errant when it comes back, instead of being skipped as done.
    pub fn gtid_uuid(&self, from: &str, server: &str, slot: u32) -> Result<String> {
        let high = self.tag(from)?.gtid_half;
        let low = (tag_hash(&self.pipeline, server) << 32) | u64::from(slot);
        Ok(format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xffff,
            low >> 48,
            low & 0xffff_ffff_ffff
        ))
    }

    /// Session `server_id` of writes that came from `site`.
    pub fn server_id(&self, site: &str) -> Result<u32> {
        Ok(self.tag(site)?.server_id)
    }

    /// How the names of all replication origins of writes that came from `site` begin; the writer appends its slot.
    pub fn origin_prefix(&self, site: &str) -> Result<&str> {
        Ok(&self.tag(site)?.origin_prefix)
    }

    fn tag(&self, site: &str) -> Result<&Tag> {
        self.tags
            .iter()
            .find(|tag| &*tag.name == site)
            .ok_or_else(|| refuse(format!("there is no site {site:?} in pipeline {:?}", self.pipeline)))
    }
}

fn refuse(detail: String) -> Error {
    Error::new(ErrorKind::Configuration, Stage::Configure, "cannot build loop guard", detail)
}

fn check_name(what: &str, name: &str) -> Result<()> {
    if name.is_empty() || name.contains(':') || name.chars().any(char::is_control) {
        return Err(refuse(format!("{what} name {name:?} is empty or holds ':' or a control character; rename it")));
    }
    Ok(())
}

/// The tag of a site, for ever: changing this makes writes of an older release look like local changes.
fn tag_hash(pipeline: &str, site: &str) -> u64 {
    let mut text = Vec::with_capacity(pipeline.len() + site.len() + 1);
    text.extend_from_slice(pipeline.as_bytes());
    text.push(0);
    text.extend_from_slice(site.as_bytes());
    xxh3_64(&text)
}

/// The guard of one direction.
#[derive(Clone, Debug)]
pub struct Guard {
    strategy: Strategy,
    tags: SiteTags,
    target: usize,
}

impl Guard {
    /// The guard of direction `source→target`, reading the log of `source`, in which writes are marked by `strategy`.
    ///
    /// # Errors
    /// `Configuration` if a site is unknown or both are the same.
    pub fn new(tags: &SiteTags, strategy: Strategy, source: &str, target: &str) -> Result<Guard> {
        tags.tag(source)?;
        tags.tag(target)?;
        if source == target {
            return Err(refuse(format!("site {source:?} is source and target of one direction")));
        }
        let target = tags.tags.iter().position(|tag| &*tag.name == target).expect("looked up above");
        Ok(Guard { strategy, tags: tags.clone(), target })
    }

    /// The strategy it reads.
    pub fn strategy(&self) -> Strategy {
        self.strategy
    }

    /// True for a change that this direction's own reverse made at the source: to be dropped and counted as echo.
    pub fn is_echo(&self, source: &Source, arena: &Arena) -> bool {
        !source.snapshot && self.carries(&self.tags.tags[self.target], source, arena)
    }

    /// The neighbour site that the change came from, `None` when it was made here (or by something that is not this pipeline).
    pub fn via(&self, source: &Source, arena: &Arena) -> Option<&Arc<str>> {
        if source.snapshot {
            return None;
        }
        self.tags.tags.iter().find(|tag| self.carries(tag, source, arena)).map(|tag| &tag.name)
    }

    fn carries(&self, tag: &Tag, source: &Source, arena: &Arena) -> bool {
        match self.strategy {
            Strategy::Gtid => source.gtid.is_some_and(|gtid| gtid_first_half(arena.bytes(gtid)) == Some(tag.gtid_half)),
            Strategy::ServerId => {
                let in_gtid = source.gtid.and_then(|gtid| gtid_server(arena.bytes(gtid)));
                in_gtid.map_or(source.server_id, i64::from) == i64::from(tag.server_id)
            }
            Strategy::ReplicationOrigin => {
                source.origin.is_some_and(|origin| arena.bytes(origin).starts_with(tag.origin_prefix.as_bytes()))
            }
            Strategy::Capture => source.origin.is_some_and(|origin| arena.bytes(origin) == tag.name.as_bytes()),
        }
    }
}

/// First 64 bits of the uuid of a MySQL GTID, `uuid:n` or `uuid:tag:n`; `None` when it is none.
fn gtid_first_half(gtid: &[u8]) -> Option<u64> {
    if gtid.get(36) != Some(&b':') {
        return None;
    }
    let mut half: u64 = 0;
    for (at, byte) in gtid.get(..18)?.iter().enumerate() {
        if at == 8 || at == 13 {
            if *byte != b'-' {
                return None;
            }
            continue;
        }
        half = (half << 4) | u64::from(char::from(*byte).to_digit(16)?);
    }
    (gtid.get(18) == Some(&b'-')).then_some(half)
}

/// The middle number of a MariaDB GTID `domain-server-sequence`; `None` when it is none.
fn gtid_server(gtid: &[u8]) -> Option<u32> {
    let mut parts = gtid.split(|byte| *byte == b'-');
    let (_domain, server, _sequence) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || server.is_empty() {
        return None;
    }
    server.iter().try_fold(0u32, |number, byte| number.checked_mul(10)?.checked_add(char::from(*byte).to_digit(10)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Span;

    fn tags() -> SiteTags {
        let sites = ["legacy", "revamp", "third"].map(GuardSite::named);
        SiteTags::new("blog", &sites).unwrap()
    }

    /// What the guard of `legacy→revamp` says about an event with this gtid, server id and origin.
    fn echo(strategy: Strategy, gtid: Option<&str>, server_id: i64, origin: Option<&str>) -> bool {
        let (source, arena) = event(gtid, server_id, origin);
        Guard::new(&tags(), strategy, "legacy", "revamp").unwrap().is_echo(&source, &arena)
    }

    fn event(gtid: Option<&str>, server_id: i64, origin: Option<&str>) -> (Source, Arena) {
        let mut arena = Arena::default();
        let mut span = |text: Option<&str>| -> Option<Span> { text.map(|text| arena.push_bytes(text.as_bytes())) };
        let source = Source { gtid: span(gtid), origin: span(origin), server_id, ..Source::default() };
        (source, arena)
    }

    #[test]
    fn a_gtid_under_the_targets_uuid_half_is_an_echo_whatever_the_slot() {
        for slot in [0, 1, u32::MAX] {
            let uuid = tags().gtid_uuid("revamp", "legacy", slot).unwrap();
            assert!(echo(Strategy::Gtid, Some(&format!("{uuid}:7")), 1, None));
            assert!(echo(Strategy::Gtid, Some(&format!("{uuid}:two_way:7")), 1, None), "tagged form");
            assert!(echo(Strategy::Gtid, Some(&format!("{}:7", uuid.to_uppercase())), 1, None));
        }
    }

    #[test]
    fn a_tag_of_another_site_passes_so_that_chains_carry_it_on() {
        let third = tags().gtid_uuid("third", "legacy", 0).unwrap();
        assert!(!echo(Strategy::Gtid, Some(&format!("{third}:7")), 1, None));
        assert!(!echo(Strategy::ServerId, None, i64::from(tags().server_id("third").unwrap()), None));
        assert!(!echo(Strategy::ReplicationOrigin, None, 0, Some("tidelock:blog:third:0")));
        assert!(!echo(Strategy::Capture, None, 0, Some("third")));
    }

    #[test]
    fn local_changes_and_odd_texts_pass() {
        for gtid in
            [None, Some(""), Some("7d5cbe67-e57a-11f1-ae6d-02fc00000001:60"), Some("0-1-2"), Some("é"), Some(":")]
        {
            assert!(!echo(Strategy::Gtid, gtid, 197, None), "{gtid:?}");
        }
        let uuid = tags().gtid_uuid("revamp", "legacy", 0).unwrap();
        assert!(!echo(Strategy::Gtid, Some(&uuid), 1, None), "a uuid without number is no gtid");
        assert!(!echo(Strategy::ServerId, Some("0-107-22"), 107, None));
        assert!(!echo(Strategy::ReplicationOrigin, None, 0, None));
        assert!(!echo(Strategy::ReplicationOrigin, None, 0, Some("tidelock:blog:revamp")));
        assert!(!echo(Strategy::Capture, None, 0, None));
    }

    #[test]
    fn another_pipelines_write_is_a_local_change() {
        let other = SiteTags::new("shop", &[GuardSite::named("legacy"), GuardSite::named("revamp")]).unwrap();
        let uuid = other.gtid_uuid("revamp", "legacy", 0).unwrap();
        assert!(!echo(Strategy::Gtid, Some(&format!("{uuid}:7")), 1, None));
        assert!(!echo(Strategy::ServerId, None, i64::from(other.server_id("revamp").unwrap()), None));
        assert!(!echo(Strategy::ReplicationOrigin, None, 0, Some("tidelock:shop:revamp:0")));
    }

    #[test]
    fn on_mariadb_the_server_part_of_the_gtid_counts_before_the_server_id() {
        let ours = tags().server_id("revamp").unwrap();
        assert!(echo(Strategy::ServerId, None, i64::from(ours), None));
        assert!(echo(Strategy::ServerId, Some(&format!("0-{ours}-22")), 107, None));
        assert!(!echo(Strategy::ServerId, Some("0-107-22"), i64::from(ours), None));
        assert!(echo(Strategy::ServerId, Some("0-99999999999999-22"), i64::from(ours), None), "unreadable gtid");
    }

    #[test]
    fn origins_match_by_prefix_and_capture_tags_exactly() {
        assert!(echo(Strategy::ReplicationOrigin, None, 0, Some("tidelock:blog:revamp:0")));
        assert!(echo(Strategy::ReplicationOrigin, None, 0, Some("tidelock:blog:revamp:17")));
        assert!(!echo(Strategy::ReplicationOrigin, None, 0, Some("tidelock:blog:revamped:0")));
        assert!(echo(Strategy::Capture, None, 0, Some("revamp")));
        assert!(!echo(Strategy::Capture, None, 0, Some("revamped")));
    }

    #[test]
    fn snapshot_reads_pass_whatever_they_carry() {
        let (source, arena) = event(None, i64::from(tags().server_id("revamp").unwrap()), None);
        let guard = Guard::new(&tags(), Strategy::ServerId, "legacy", "revamp").unwrap();
        assert!(guard.is_echo(&source, &arena));
        assert!(!guard.is_echo(&Source { snapshot: true, ..source }, &arena));
    }

    #[test]
    fn via_names_the_neighbour() {
        let guard = Guard::new(&tags(), Strategy::Capture, "legacy", "revamp").unwrap();
        let (source, arena) = event(None, 0, Some("third"));
        assert_eq!(guard.via(&source, &arena).map(|name| &**name), Some("third"));
        let (source, arena) = event(None, 0, None);
        assert_eq!(guard.via(&source, &arena), None);
    }

    #[test]
    fn a_clash_between_two_sites_is_refused() {
        let taken = tags().server_id("legacy").unwrap();
        let sites = [GuardSite::named("legacy"), GuardSite { name: "revamp".into(), server_id: Some(taken) }];
        let error = SiteTags::new("blog", &sites).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Configuration);
        assert!(error.detail.contains("server_id"), "{error}");
        assert!(SiteTags::new("blog", &[GuardSite::named("a"), GuardSite::named("a")]).is_err());
        assert!(SiteTags::new("blog", &[GuardSite { name: "a".into(), server_id: Some(0) }]).is_err());
    }

    #[test]
    fn names_that_would_make_an_origin_ambiguous_are_refused() {
        for name in ["", "a:b", "a\n"] {
            assert!(SiteTags::new("blog", &[GuardSite::named(name)]).is_err(), "{name:?}");
            assert!(SiteTags::new(name, &[]).is_err(), "{name:?}");
        }
        assert!(Guard::new(&tags(), Strategy::Gtid, "legacy", "legacy").is_err());
        assert!(Guard::new(&tags(), Strategy::Gtid, "legacy", "nowhere").is_err());
    }

    #[test]
    fn tags_are_the_same_in_every_release() {
        let tags = tags();
        assert_eq!(tags.gtid_uuid("revamp", "legacy", 3).unwrap(), "d39f183d-186e-ad44-1eb2-03db00000003");
        assert_eq!(tags.server_id("revamp").unwrap(), 0x546e_ad44);
        assert_eq!(tags.origin_prefix("revamp").unwrap(), "tidelock:blog:revamp:");
    }
}
