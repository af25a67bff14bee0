//! How a tunnel's thread is spoken to: words, and a bell that wakes it.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use crate::on_demand::decide::Reach;
use crate::proof::Identity;

/// What others tell a tunnel's thread.
#[derive(Debug)]
pub enum Word {
    /// Try now: somebody says so.
    Kick,
    /// The network has changed, which may be the remedy.
    Network,
    /// Another tunnel has fallen, and what it fell by may be this one's trouble, too.
    Doubt,
    /// End.
    Stop,
    /// What a comparison of host keys has found.
    Identity(Identity),
    /// Who is behind the home port, which the session has as well now; nothing when it has not, or
    /// nobody answers there.
    Home(Option<Identity>),
    /// A helper has done what there is no answer to.
    Helped,
    /// The jump host was asked to end what holds the port.
    Released,
    /// Where the jump host is that does not always run.
    Reach(Reach),
}

/// Who speaks to a thread.
#[derive(Debug)]
pub struct Caller {
    words: Sender<Word>,
    bell: UnixStream,
}

/// What a thread hears by.
#[derive(Debug)]
pub struct Post {
    words: Receiver<Word>,
    bell: UnixStream,
    to_self: Caller,
}

/// The two ends.
///
/// # Errors
///
/// What the system said.
pub fn pair() -> io::Result<(Caller, Post)> {
    let (sender, words) = mpsc::channel();
    let (rings, bell) = UnixStream::pair()?;
    // Who rings does not wait: a bell that is full of rings has been heard.
    rings.set_nonblocking(true)?;
    bell.set_nonblocking(true)?;
    let caller = Caller { words: sender, bell: rings };
    let to_self = caller.try_clone()?;
    Ok((caller, Post { words, bell, to_self }))
}

impl Caller {
    /// Says a word, and wakes who hears it.
    pub fn say(&self, word: Word) {
        let _ = self.words.send(word);
        let _ = (&self.bell).write(&[1]);
    }

    /// Another who speaks to it.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { words: self.words.clone(), bell: self.bell.try_clone()? })
    }
}

impl Post {
    /// The words that have come.
    pub fn hear(&mut self) -> Vec<Word> {
        let mut bytes = [0; 64];
        while matches!(self.bell.read(&mut bytes), Ok(read) if read > 0) {}
        self.words.try_iter().collect()
    }

    /// What becomes readable when there are words.
    #[must_use]
    pub fn wakes(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Has a helper do what takes its time, and answer by a word. Whether there is one.
    pub fn help(&self, work: impl FnOnce() -> Word + Send + 'static) -> bool {
        let Ok(caller) = self.to_self.try_clone() else { return false };
        // One that dies of a fault of ours is waited for otherwise for ever.
        let run = move || {
            let word = catch_unwind(AssertUnwindSafe(work)).unwrap_or(Word::Helped);
            caller.say(word);
        };
        thread::Builder::new().name("helper".into()).spawn(run).is_ok()
    }
}
