//! Whose connection it is, of what the kernel says of the connection, of sessions and of processes. Pure, and never a guess.
//!
//! What nobody but root can change decides: the control group that the kernel noted when the socket was made. With
//! pam_systemd each session has a group of its own, and sshd's process of the session is in it. Without, all sessions share sshd's
//! group. Then each process there that could have made the socket has to descend from the sessions of one person;
//! what a session of before has left behind descends from none, and nobody can say whose it is.

use std::fmt;

use super::answer::{Answer, Person};
use super::record::Record;
use super::socket::Connection;

/// A session whose process lives.
#[derive(Debug, Clone)]
pub struct Session {
    /// Its record.
    pub record: Record,
    /// The control group of its process.
    pub group: Option<u64>,
    /// The user whose session that group is by logind's word, with this process at its head.
    pub scope_of: Option<u32>,
}

/// Why it is nobody's that we know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unknown {
    /// There is no such connection, or it has gone while we looked.
    Ended,
    /// There are no records to be read.
    NoRecords,
    /// The kernel does not say in which group a socket was made.
    NoGroups,
    /// It was opened by no session that has a record: by a service, by `systemd --user`, by what a session has left, by
    /// one that began before records were kept.
    NoSession,
    /// It may be of a session that has ended: processes of that user are left of one.
    Leftover,
    /// It may be of several people.
    Several,
    /// The tunnel has opened it itself, to see whether it works.
    Tunnel,
    /// It took too long to find out.
    TooLong,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ended => "the connection had ended",
            Self::NoRecords => "no records of sessions there",
            Self::NoGroups => "the kernel there does not tell",
            Self::NoSession => "opened outside of a recorded session",
            Self::Leftover => "maybe left over from an earlier session",
            Self::Several => "several sessions may have opened it",
            Self::Tunnel => "opened by the tunnel itself",
            Self::TooLong => "it took too long to find out",
        })
    }
}

/// The sessions that it can be of: one, or several of which nobody can say which.
///
/// `fellows` answers, for each process of the connection's user in the connection's group, that process and its ancestors, nearest
/// first. It is asked only where the group alone does not tell.
///
/// # Errors
///
/// [`Unknown`], when it can be of something else as well.
pub fn sessions_of<'a>(
    connection: &Connection,
    sessions: &'a [Session],
    fellows: impl FnOnce() -> Result<Vec<Vec<u32>>, Unknown>,
) -> Result<Vec<&'a Record>, Unknown> {
    let group = connection.cgroup.ok_or(Unknown::NoGroups)?;
    let here: Vec<&Session> = sessions.iter().filter(|one| one.group == Some(group)).collect();
    match here.as_slice() {
        [] => return Err(Unknown::NoSession),
        [one] if one.scope_of == Some(connection.uid) => return Ok(vec![&one.record]),
        _ => {}
    }
    let mut found: Vec<&Record> = Vec::new();
    for line in fellows()? {
        let of = |pid: &u32| here.iter().find(|one| one.record.pid == *pid);
        let Some(session) = line.iter().find_map(of) else { return Err(Unknown::Leftover) };
        if !found.contains(&&session.record) {
            found.push(&session.record);
        }
    }
    if found.is_empty() { Err(Unknown::NoSession) } else { Ok(found) }
}

/// The person whose sessions these are, if it is one. `tunnel` is the process that asks and its ancestors, when it is the
/// tunnel that asks.
///
/// # Errors
///
/// [`Unknown::Several`] or [`Unknown::Tunnel`].
pub fn person(records: &[&Record], tunnel: &[u32]) -> Result<Person, Unknown> {
    let Some((first, others)) = records.split_first() else { return Err(Unknown::NoSession) };
    if records.iter().all(|record| tunnel.contains(&record.pid)) {
        return Err(Unknown::Tunnel);
    }
    if others.iter().all(|other| first.is_of_same(other)) {
        Ok(Person::from(*first))
    } else {
        Err(Unknown::Several)
    }
}

impl From<Result<Person, Unknown>> for Answer {
    fn from(found: Result<Person, Unknown>) -> Self {
        found.map_or_else(|why| Self::unmatched(&why.to_string()), Self::Matched)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Stamp;

    const ALICE: u32 = 2001;
    const BOB: u32 = 2002;
    const ROOT: u32 = 0;
    /// The group of sshd's own service.
    const SERVICE: u64 = 1;

    fn record(pid: u32, user: &str, from: &str) -> Record {
        Record {
            version: 1,
            pid,
            start_ticks: u64::from(pid),
            user: user.into(),
            source: from.parse().ok(),
            source_name: None,
            auth: Vec::new(),
            at: Stamp::default(),
        }
    }

    /// A session in a scope of its own, whose number is that of its process.
    fn scope(pid: u32, user: &str, uid: u32, from: &str) -> Session {
        let group = Some(pid.into());
        Session { record: record(pid, user, from), group, scope_of: Some(uid) }
    }

    /// A session in sshd's service.
    fn plain(pid: u32, user: &str, from: &str) -> Session {
        Session { record: record(pid, user, from), group: Some(SERVICE), scope_of: None }
    }

    fn of(uid: u32, group: u64) -> Connection {
        Connection { inode: 7, uid, cgroup: Some(group) }
    }

    /// Whom it is found to be of: user and source; or why not.
    fn who(
        connection: &Connection,
        sessions: &[Session],
        fellows: &[&[u32]],
        tunnel: &[u32],
    ) -> Result<(String, String), Unknown> {
        let lines = || Ok(fellows.iter().map(|line| line.to_vec()).collect());
        let found = sessions_of(connection, sessions, lines)?;
        let person = person(&found, tunnel)?;
        Ok((person.user.visible(), person.source.map_or(String::new(), |ip| ip.to_string())))
    }

    fn is(user: &str, from: &str) -> Result<(String, String), Unknown> {
        Ok((user.to_owned(), from.to_owned()))
    }

    #[test]
    fn with_logind_the_group_is_the_session() {
        let all = [
            scope(10, "alice", ALICE, "198.51.100.7"),
            scope(20, "alice", ALICE, "203.0.113.9"),
            scope(30, "bob", BOB, "198.51.100.7"),
            scope(40, "root", ROOT, "203.0.113.9"),
            scope(50, "tunnel", 2003, "192.0.2.1"),
        ];
        let asks = [52, 51, 50];
        let table: &[(Connection, &[&[u32]], _)] = &[
            (of(ALICE, 10), &[], is("alice", "198.51.100.7")),
            (of(ALICE, 20), &[], is("alice", "203.0.113.9")),
            (of(BOB, 30), &[], is("bob", "198.51.100.7")),
            (of(ROOT, 40), &[], is("root", "203.0.113.9")),
            (of(2003, 50), &[], Err(Unknown::Tunnel)),
            // user@2001.service, a service, a scope of which only what it has left is there.
            (of(ALICE, 99), &[&[77, 76]], Err(Unknown::NoSession)),
            // With sudo, in the session of alice: root's processes there are sshd's own and hers.
            (of(ROOT, 10), &[&[10], &[13, 12, 11, 10]], is("alice", "198.51.100.7")),
            // The same, beside something of root's that was put there.
            (of(ROOT, 10), &[&[10], &[90]], Err(Unknown::Leftover)),
            // Somebody who was never seen there.
            (of(BOB, 10), &[], Err(Unknown::NoSession)),
        ];
        for (connection, fellows, want) in table {
            assert_eq!(&who(connection, &all, fellows, &asks), want, "{connection:?}");
        }
        let dumb = Connection { cgroup: None, ..of(ALICE, 10) };
        assert_eq!(who(&dumb, &all, &[], &[]), Err(Unknown::NoGroups));
        assert_eq!(who(&of(ALICE, 10), &[], &[], &[]), Err(Unknown::NoSession));
        // Which of its user's sessions it is must not be told by the numbers of others.
        let no_group = Session { group: None, ..all[0].clone() };
        assert_eq!(who(&of(ALICE, 10), &[no_group], &[], &[]), Err(Unknown::NoSession));
    }

    #[test]
    fn an_sshd_that_was_started_in_a_session_shares_its_group_and_is_told_apart() {
        // root has started sshd from the shell of a session; those of bob are in her group since.
        let all = [
            scope(10, "alice", ALICE, "198.51.100.7"),
            Session { group: Some(10), ..plain(30, "bob", "203.0.113.9") },
        ];
        let shells: &[&[u32]] = &[&[31, 30]];
        assert_eq!(who(&of(BOB, 10), &all, shells, &[]), is("bob", "203.0.113.9"));
        assert_eq!(who(&of(ALICE, 10), &all, &[&[11, 10]], &[]), is("alice", "198.51.100.7"));
        assert_eq!(who(&of(ALICE, 10), &all, &[&[11, 10], &[90]], &[]), Err(Unknown::Leftover));
        // bob has gone and has left something: it is not hers.
        assert_eq!(who(&of(BOB, 10), &all[..1], &[&[31]], &[]), Err(Unknown::Leftover));
    }

    #[test]
    fn without_logind_all_that_could_have_opened_it_is_one_persons() {
        let all = [
            plain(10, "alice", "198.51.100.7"),
            plain(20, "alice", "203.0.113.9"),
            plain(30, "alice", "198.51.100.7"),
            plain(40, "bob", "198.51.100.7"),
        ];
        let (one, two, three, four): (&[u32], &[u32], &[u32], &[u32]) =
            (&[12, 11, 10], &[21, 20], &[31, 30], &[41, 40]);
        let table: &[(u32, &[&[u32]], _)] = &[
            (ALICE, &[one, &[11, 10]], is("alice", "198.51.100.7")),
            (ALICE, &[two], is("alice", "203.0.113.9")),
            (ALICE, &[one, three], is("alice", "198.51.100.7")),
            (ALICE, &[one, two], Err(Unknown::Several)),
            (ALICE, &[one, &[90]], Err(Unknown::Leftover)),
            (ALICE, &[&[90]], Err(Unknown::Leftover)),
            (ALICE, &[&[]], Err(Unknown::Leftover)),
            (ALICE, &[], Err(Unknown::NoSession)),
            (BOB, &[four], is("bob", "198.51.100.7")),
            // sshd itself is root's, and serves all.
            (ROOT, &[&[5], &[10, 5], &[41, 40, 5]], Err(Unknown::Leftover)),
            // Two names for one number are two people.
            (ALICE, &[one, four], Err(Unknown::Several)),
        ];
        for (uid, fellows, want) in table {
            assert_eq!(&who(&of(*uid, SERVICE), &all, fellows, &[]), want, "{uid} {fellows:?}");
        }
        // The nearest session counts: su in the session of bob does not make it his who is further up.
        assert_eq!(
            who(&of(ALICE, SERVICE), &all, &[&[41, 40, 12, 11, 10]], &[]),
            is("bob", "198.51.100.7")
        );
    }

    #[test]
    fn the_tunnel_knows_its_own_look_from_somebody_who_is_the_same_user() {
        let all = [plain(10, "alice", "198.51.100.7"), plain(20, "alice", "203.0.113.9")];
        let asks = [12, 11, 10, 5];
        assert_eq!(who(&of(ALICE, SERVICE), &all, &[&[11, 10, 5]], &asks), Err(Unknown::Tunnel));
        assert_eq!(
            who(&of(ALICE, SERVICE), &all, &[&[21, 20, 5]], &asks),
            is("alice", "203.0.113.9")
        );
        let both: &[&[u32]] = &[&[11, 10, 5], &[21, 20, 5]];
        assert_eq!(who(&of(ALICE, SERVICE), &all, both, &asks), Err(Unknown::Several));
    }

    #[test]
    fn what_cannot_be_found_out_is_no_ones() {
        let all = [plain(10, "alice", "198.51.100.7")];
        let found = sessions_of(&of(ALICE, SERVICE), &all, || Err(Unknown::TooLong));
        assert_eq!(found, Err(Unknown::TooLong));
        assert_eq!(person(&[], &[]), Err(Unknown::NoSession));
        let answer = Answer::from(Err(Unknown::Several));
        assert_eq!(answer.to_line(), r#"{"unmatched":"several sessions may have opened it"}"#);
    }
}
