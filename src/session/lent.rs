//! A value that operations work on, one after the other.

use std::task::Poll;

use super::error::SessionError;
use super::sliced::Site;
use crate::store::StoreError;
use crate::store::workers::operations::Operation;

/// A value, or the operation that has it.
pub(super) enum Lent<T> {
    /// No operation has it.
    Here(T),
    /// An operation waits for the file system.
    Away(Operation<(T, Result<u64, StoreError>)>),
    /// A call to the file system has failed in a way that ends the value.
    Lost,
}

impl<T: 'static> Lent<T> {
    /// Begins an operation on the value. Nothing happens while another operation has it.
    pub(super) fn lend(&mut self, site: Site<'_>, work: impl AsyncFnOnce(&mut T) -> Result<u64, StoreError> + 'static) {
        *self = match std::mem::replace(self, Self::Lost) {
            Self::Here(mut value) => Self::Away(site.home.file_system().operations().begin(site.caller, async move {
                let result = work(&mut value).await;
                (value, result)
            })),
            other => other,
        };
    }

    /// Takes the result of the last operation: 0 if it was taken already, or `None` while the operation waits.
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

    /// Returns the value for good, unless an operation has it.
    pub(super) fn into_inner(self) -> Option<T> {
        if let Self::Here(value) = self { Some(value) } else { None }
    }
}
