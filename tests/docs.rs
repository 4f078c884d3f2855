//! What the documents, the layout of the sources and the files of the packages say is true.

mod support;

mod docs {
    mod architecture;
    mod package;
    mod threats;
}
