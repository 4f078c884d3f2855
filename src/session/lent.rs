//! A value that is lent to operations, one after the other, and comes back with their results.

use std::task::Poll;

use super::error::SessionError;
use super::sliced::Site;
use crate::store::StoreError;
use crate::store::workers::operations::Operation;

/// A value, or the operation that has it.
pub(super) enum Lent<T> {
    /// No operation has it.
    Here(T),
    /// An operation has it.
    Away(Operation<(T, Result<u64, StoreError>)>),
    /// The operation that had it has panicked.
    Lost,
}

impl<T: 'static> Lent<T> {
    /// Begins an operation on the value. Does nothing while another operation has it.
    pub(super) fn lend(&mut self, site: Site<'_>, work: impl AsyncFnOnce(&mut T) -> Result<u64, StoreError> + 'static) {
        *self = match std::mem::replace(self, Self::Lost) {
            Self::Here(mut value) => Self::Away(site.home.file_system().operations().begin(site.caller, async move {
                let result = work(&mut value).await;
                (value, result)
            })),
            other => other,
        };
    }

    /// Takes the result of the last operation; 0 if it was taken before. Returns `None` while the operation runs.
    pub(super) fn take_result(&mut self) -> Result<Option<u64>, SessionError> {
        let Self::Away(operation) = self else {
            return if let Self::Here(_) = self { Ok(Some(0)) } else { Err(SessionError::Defect) };
        };
        match operation.take() {
            Poll::Pending => Ok(None),
            Poll::Ready(done) => {
                *self = Self::Lost;
                let (value, result) = done.ok_or(SessionError::Defect)?;
                *self = Self::Here(value);
                Ok(Some(result?))
            }
        }
    }

    /// Returns whether an operation is running.
    pub(super) fn is_away(&self) -> bool {
        matches!(self, Self::Away(operation) if operation.is_running())
    }

    /// Returns the value, unless an operation has it.
    pub(super) fn get(&self) -> Option<&T> {
        if let Self::Here(value) = self { Some(value) } else { None }
    }

    /// Like [`Lent::get`], to change the value.
    pub(super) fn get_mut(&mut self) -> Option<&mut T> {
        if let Self::Here(value) = self { Some(value) } else { None }
    }

    /// Consumes this, and returns the value unless an operation has it.
    pub(super) fn into_inner(self) -> Option<T> {
        if let Self::Here(value) = self { Some(value) } else { None }
    }
}
