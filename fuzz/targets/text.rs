//! Texts for a person, from any event at any time: the short message is GSM-7, keeps to its
//! segments and carries the id, whatever the names hold.
#![no_main]

use arbitrary::Unstructured;
use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|bytes: &[u8]| -> Corpus {
    let mut u = Unstructured::new(bytes);
    let parts = |u: &mut Unstructured<'_>| {
        let now = bastion_fuzz::stamp(u)?;
        let extra: Option<String> = u.arbitrary()?;
        bastion_fuzz::event(u).map(|event| (now, extra, event))
    };
    let Ok((now, extra, event)) = parts(&mut u) else { return Corpus::Reject };
    bastion_fuzz::check_texts(&event, extra.as_deref(), &now);
    Corpus::Keep
});
