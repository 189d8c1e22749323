//! The helper process that takes clsact filters off for a capture that has given up the rights to: it enters
//! namespaces, and removes what the capture's own list names. Where the capture ends without having asked for that,
//! it does it all the same.

use std::{io, sync::OnceLock};

use serde::{Deserialize, Serialize};

use super::{
    ProbeError,
    clsact::{self, Filter},
    lists,
};
use crate::helper::Channel;

/// Whom this process asks.
static KEEPER: OnceLock<Keeper> = OnceLock::new();

/// What is asked for.
#[derive(Serialize, Deserialize)]
enum Request {
    /// Take it off. Answered with the error, if there is one.
    Detach(Filter),
    /// Is its interface gone? Answered with yes or no.
    IsGone(Filter),
}

/// The way to the helper.
pub(super) struct Keeper(Channel);

impl Keeper {
    fn ask<T: serde::de::DeserializeOwned>(&self, request: &Request) -> io::Result<T> {
        self.0.send(request, &[])?;
        let answer = self.0.receive()?;
        let (answer, _) = answer.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(answer)
    }

    /// Lets it take a filter off.
    pub(super) fn detach(&self, filter: &Filter) -> Result<(), ProbeError> {
        let failed = |why: String| ProbeError::Attach {
            interface: filter.label.clone(),
            why,
        };
        let done: Result<Result<(), String>, io::Error> =
            self.ask(&Request::Detach(filter.clone()));
        done.map_err(|why| {
            failed(format!(
                "clsact: the helper process has ended, and our filter stays until netns-trace is started again ({why})"
            ))
        })?
        .map_err(failed)
    }

    /// Lets it look whether an interface is gone. Without it nobody can tell.
    pub(super) fn is_gone(&self, filter: &Filter) -> bool {
        match self.ask(&Request::IsGone(filter.clone())) {
            Ok(is_gone) => is_gone,
            Err(why) => {
                log::debug!(
                    "{}: the helper process does not answer: {why}",
                    filter.label
                );
                false
            }
        }
    }
}

/// The helper of this process, if it has one.
pub(super) fn keeper() -> Option<&'static Keeper> {
    KEEPER.get()
}

/// What is attached from now on is taken off by the helper at the other end. It has this process's list of filters,
/// which [`lists::share`] has made before it was started.
pub(crate) fn rely_on(channel: Channel) {
    if KEEPER.set(Keeper(channel)).is_err() {
        log::error!("there is a helper process already");
    }
}

/// In the helper process: does what it is asked for, until nobody can ask any more.
pub(crate) fn keep(channel: &Channel) {
    loop {
        let answered = match channel.receive() {
            Ok(Some((Request::Detach(filter), _))) => {
                let done = clsact::detach(&filter).map_err(|why| match why {
                    ProbeError::Attach { why, .. } => why,
                    why => why.to_string(),
                });
                channel.send(&done, &[])
            }
            Ok(Some((Request::IsGone(filter), _))) => channel.send(&clsact::is_gone(&filter), &[]),
            Ok(None) => break,
            Err(why) => Err(why),
        };
        if let Err(why) = answered {
            log::debug!("the capture does not listen: {why}");
            break;
        }
    }
}

/// In the helper process: takes off what it was not asked to, which is nothing where the capture has ended well.
pub(crate) fn take_off_the_rest() {
    lists::close_shared();
}
