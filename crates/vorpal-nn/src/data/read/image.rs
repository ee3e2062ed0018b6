//! Folders of pictures.

use std::path::{Path, PathBuf};

use vorpal_autodiff::ops::Interpolation;
use vorpal_autodiff::{Device, Error, Result};

use super::image_bytes::image_from_bytes;
use crate::data::{Array, Dataset};

/// Pictures in folders that are named after what they show: `torchvision.datasets.ImageFolder`. A [`Dataset`] of pictures
/// `[channels, height, width]` from 0 to 1 and the numbers of their classes, read when they are asked for.
///
/// ```no_run
/// use vorpal_nn::data::{DataLoader, ImageFolder};
/// let pictures = ImageFolder::open("pets")?.resized(64, 64);
/// println!("{:?}", pictures.classes());
/// let loader = DataLoader::builder(pictures).batch_size(32).shuffle(7).workers(4).build()?;
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ImageFolder {
    classes: Vec<String>,
    files: Vec<(PathBuf, i32)>,
    channels: usize,
    size: Option<[usize; 2]>,
}

impl ImageFolder {
    /// All `.png`, `.jpg` and `.jpeg` files below the folders in `folder`; classes and files in the order of their names.
    ///
    /// # Errors
    /// [`Error::Io`] for a folder that cannot be read, [`Error::Format`] when there are no pictures.
    pub fn open(folder: impl AsRef<Path>) -> Result<ImageFolder> {
        let folder = folder.as_ref();
        let (mut classes, mut files) = (Vec::new(), Vec::new());
        for path in entries(folder)?.into_iter().filter(|path| path.is_dir()) {
            let mut found = Vec::new();
            collect(&path, &mut found)?;
            let class = classes.len() as i32;
            files.extend(found.into_iter().map(|file| (file, class)));
            classes.push(path.file_name().unwrap_or_default().to_string_lossy().into_owned());
        }
        if files.is_empty() {
            let message = format!("no .png or .jpg files in its {} folders", classes.len());
            return Err(Error::format(folder.display().to_string(), message));
        }
        Ok(ImageFolder { classes, files, channels: 3, size: None })
    }

    /// Grey pictures, of one channel.
    #[must_use]
    pub fn grey(mut self) -> ImageFolder {
        self.channels = 1;
        self
    }

    /// Pictures all of one size, bilinearly.
    #[must_use]
    pub fn resized(mut self, height: usize, width: usize) -> ImageFolder {
        self.size = Some([height, width]);
        self
    }

    /// What the numbers of classes stand for.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The file of a sample.
    pub fn path(&self, index: usize) -> Option<&Path> {
        self.files.get(index).map(|(path, _)| path.as_path())
    }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let list = || {
        std::fs::read_dir(folder)?.map(|entry| entry.map(|e| e.path())).collect::<std::io::Result<Vec<_>>>()
    };
    let mut entries = list().map_err(|e| Error::io(folder, &e))?;
    entries.sort();
    Ok(entries)
}

fn collect(folder: &Path, out: &mut Vec<PathBuf>) -> Result<()> {
    for path in entries(folder)? {
        let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase());
        if path.is_dir() {
            collect(&path, out)?;
        } else if matches!(ending.as_deref(), Some("png" | "jpg" | "jpeg")) {
            out.push(path);
        }
    }
    Ok(())
}

impl Dataset for ImageFolder {
    type Item = (Array, i32);
    fn len(&self) -> usize {
        self.files.len()
    }
    fn get(&self, index: usize) -> Result<(Array, i32)> {
        crate::data::dataset::check(index, self.files.len())?;
        let (path, class) = &self.files[index];
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, &e))?;
        let mut image = image_from_bytes(&bytes, self.channels, &path.display().to_string())?;
        if let Some([height, width]) = self.size
            && image.shape().dims()[1..] != [height, width]
        {
            let x = image.to_tensor(&Device::cpu()).unsqueeze(0);
            image = Array::from_tensor(
                &x.interpolate(&[height, width], Interpolation::Linear, false).squeeze(0),
            )?;
        }
        Ok((image, *class))
    }
}
