//! What a line may do to the run of a stack, by its control (pam.conf(5), and `_pam_dispatch_aux` of Linux-PAM).

use super::StackLine;

/// What happens after a module has answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The next line, as if this were not there; also `reset`, which takes back what was said before.
    Ignore,
    /// The answer counts, for or against: `ok`, `bad`, `die`.
    Vote,
    /// The answer counts, and the stack ends: `done`.
    Done,
    /// So many lines are passed over, and the answer does not count.
    Jump(usize),
}

use Action::{Done, Ignore, Jump, Vote};

/// All that may happen. An answer of `PAM_IGNORE` is left out: with it any line may be as none.
#[must_use]
pub fn actions(control: &str) -> Vec<Action> {
    match control {
        "required" | "requisite" => vec![Vote],
        "sufficient" => vec![Done, Ignore],
        // What is no control at all is `parse`'s to tell.
        _ => in_brackets(control).unwrap_or_else(|| match control {
            "optional" => vec![Vote, Ignore],
            _ => vec![Ignore],
        }),
    }
}

fn in_brackets(control: &str) -> Option<Vec<Action>> {
    let inside = control.strip_prefix('[')?.strip_suffix(']')?;
    let spaced = inside.replace('=', " = ");
    let mut words = spaced.split_whitespace();
    let (mut found, mut has_default) = (Vec::new(), false);
    while let Some(answer) = words.next() {
        let (Some("="), Some(action)) = (words.next(), words.next()) else { return None };
        let action = match action {
            "ignore" | "reset" => Ignore,
            "ok" | "bad" | "die" => Vote,
            "done" => Done,
            number if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                // One that is too long is a jump over all.
                match number.parse().unwrap_or(usize::MAX) {
                    0 => Ignore,
                    count => Jump(count),
                }
            }
            _ => return None,
        };
        has_default |= answer == "default";
        if answer != "ignore" {
            found.push(action);
        }
    }
    if !has_default {
        // libpam's is `bad`.
        found.push(Vote);
    }
    Some(found)
}

/// A line as the run of a stack meets it: a `substack` is one of its own, with its lines one level deeper behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// In how many substacks.
    pub level: usize,
    /// All that may happen there.
    pub actions: Vec<Action>,
}

/// Whether some line has a say in each run. Where none has, libpam lets nobody in; and an `optional` line
/// of ours, the only one that is content, would let everybody in.
#[must_use]
pub fn decides(steps: &[Step]) -> bool {
    // Where a run may be in which nothing was said yet.
    let mut silent = vec![false; steps.len() + 1];
    silent[0] = true;
    for (at, step) in steps.iter().enumerate() {
        if !silent[at] {
            continue;
        }
        for action in &step.actions {
            match action {
                Vote | Done => {}
                Ignore => silent[at + 1] = true,
                Jump(count) => {
                    if let Some(to) = landing(steps, at, *count) {
                        silent[to] = true;
                    }
                }
            }
        }
    }
    !silent[steps.len()]
}

/// Where a jump ends, which stays in its substack and passes over others whole. `None` where it is too long: that denies.
fn landing(steps: &[Step], from: usize, mut count: usize) -> Option<usize> {
    let level = steps[from].level;
    let next_is = |at: usize, fits: &dyn Fn(usize) -> bool| {
        steps.get(at + 1).is_some_and(|step| fits(step.level))
    };
    let mut at = from;
    while count > 0 && next_is(at, &|next| next >= level) {
        at += 1;
        while next_is(at, &|next| next > level) {
            at += 1;
        }
        count -= 1;
    }
    (count == 0).then_some(at + 1)
}

/// The first line before the one at `at` that may end the stack while all is well, or jump over that one.
#[must_use]
pub fn passes_over(stack: &[StackLine], at: usize) -> Option<&StackLine> {
    let passes = |(from, line): &(usize, &StackLine)| {
        actions(&line.control).iter().any(|action| match action {
            Vote | Ignore => false,
            Done => true,
            Jump(count) => from.saturating_add(*count) >= at,
        })
    };
    stack.iter().take(at).enumerate().find(passes).map(|(_, line)| line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(controls: &[&str]) -> Vec<StackLine> {
        let line = |control: &&str| StackLine {
            file: "/etc/pam.d/sshd".into(),
            number: 1,
            quiet: false,
            control: (*control).into(),
            module: "pam_x.so".into(),
            arguments: Vec::new(),
        };
        controls.iter().map(line).collect()
    }

    #[test]
    fn some_line_has_to_have_a_say_whatever_the_others_answer() {
        let table: &[(&[&str], bool)] = &[
            (&[], false),
            (&["required"], true),
            (&["requisite"], true),
            (&["optional"], false),
            (&["sufficient"], false),
            (&["sufficient", "required"], true),
            (&["[success=ok default=ignore]"], false),
            (&["[success=ok default = reset]"], false),
            (&["[success=ok ignore=ignore default=bad]"], true),
            (&["[success=ok ignore=ignore module_unknown=ignore default=bad]"], false),
            (&["[success=ok]"], true),
            (&["[ default=die ]"], true),
            (&["[success=done default=die]"], true),
            (&["[default=0]"], false),
            // Jumps: Debian's, and over the only one that has a say.
            (&["[default=1]", "requisite", "required"], true),
            (&["[default=1]", "requisite"], false),
            (&["[success=1 default=ignore]", "required"], false),
            (&["[success=1 default=ignore]", "required", "required"], true),
            (&["required", "[success=1 default=ignore]", "required"], true),
            (&["[default=99999999999999999999]", "required"], true),
            (&["substack", "|required"], true),
            (&["substack", "|[default=1]", "|requisite", "|required"], true),
            (&["[default=1]", "substack", "|required"], false),
            (&["[default=1]", "substack", "|required", "|required", "required"], true),
            (&["[default=2]", "substack", "|required", "substack", "|required"], false),
            (&["substack", "|[default=1]", "required"], true),
            // Which libpam takes for bad; not relied on.
            (&["[default]"], false),
            (&["[default=nonsense]"], false),
        ];
        for (controls, want) in table {
            // Those with a bar are in a substack.
            let step = |control: &&str| Step {
                level: usize::from(control.starts_with('|')),
                actions: actions(control.trim_start_matches('|')),
            };
            let steps: Vec<Step> = controls.iter().map(step).collect();
            assert_eq!(decides(&steps), *want, "{controls:?}");
        }
    }

    #[test]
    fn what_may_end_the_stack_or_jump_over_a_line_is_found() {
        for (controls, want) in [
            (&["required", "requisite", "optional"][..], false),
            (&["sufficient"], true),
            (&["[success=done default=ignore]"], true),
            (&["[success=ok default=die]"], false),
            (&["[success=1 default=ignore]"], true),
            (&["[success=1 default=ignore]", "required"], false),
            (&["[success=2 default=ignore]", "required"], true),
            (&["[success=9999999999999999999999]", "required"], true),
            (&[], false),
        ] {
            let mut lines = stack(controls);
            lines.extend(stack(&["optional", "sufficient"]));
            assert_eq!(passes_over(&lines, controls.len()).is_some(), want, "{controls:?}");
        }
    }
}
