//! A person at the console: headless Chromium, driven through chromedriver by the words on the page.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use fantoccini::{Client, ClientBuilder, Locator};
use serde_json::json;

/// A page must show something within this.
const PATIENCE: Duration = Duration::from_secs(30);

/// A browser window; the driver ends with it.
pub struct Browser {
    client: Client,
    driver: Child,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Opens a window that accepts the console's own certificate.
    ///
    /// # Errors
    /// When chromedriver or chromium is missing or does not start.
    pub async fn open() -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let profile = tempfile::tempdir()?;
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("chromedriver is missing: packaging/setup.sh tests installs it")?;
        let arguments = [
            "--headless=new".to_owned(),
            "--no-sandbox".to_owned(), // the tests are root, for which chromium has no sandbox
            "--disable-dev-shm-usage".to_owned(),
            "--disable-gpu".to_owned(),
            "--window-size=1280,900".to_owned(),
            "--lang=it".to_owned(),
            format!("--user-data-dir={}", profile.path().display()),
        ];
        let wanted = json!({
            "browserName": "chrome",
            "acceptInsecureCerts": true,
            "goog:chromeOptions": {"args": arguments},
        });
        let mut browser = Opening { driver: Some(driver) };
        let serde_json::Value::Object(wanted) = wanted else { anyhow::bail!("capabilities are an object") };
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let client = loop {
            let mut builder = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new());
            match builder.capabilities(wanted.clone()).connect(&format!("http://127.0.0.1:{port}")).await {
                Ok(client) => break client,
                Err(error) if tokio::time::Instant::now() >= deadline => {
                    return Err(error).context("chromedriver opens no window");
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        };
        let driver = browser.driver.take().context("the driver is gone")?;
        Ok(Self { client, driver, _profile: profile })
    }

    /// Goes to an address.
    ///
    /// # Errors
    /// When the page does not load.
    pub async fn go_to(&self, url: &str) -> Result<()> {
        self.client.goto(url).await.with_context(|| url.to_owned())
    }

    /// Types into the field with this name.
    ///
    /// # Errors
    /// When there is no such field within 30 seconds.
    pub async fn fill(&self, name: &str, text: &str) -> Result<()> {
        let field = format!("[name={name}]");
        let element = self.client.wait().at_most(PATIENCE).for_element(Locator::Css(&field)).await?;
        element.send_keys(text).await.context(field)
    }

    /// Presses the button that the selector finds.
    ///
    /// # Errors
    /// When there is none.
    pub async fn press(&self, css: &str) -> Result<()> {
        self.client.find(Locator::Css(css)).await?.click().await.with_context(|| css.to_owned())
    }

    /// Waits until a part of the page shows all of these words, without loading it again.
    ///
    /// # Errors
    /// When it does not within 30 seconds; says what it shows.
    pub async fn wait_for_words(&self, css: &str, words: &[&str]) -> Result<()> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let text = self.text(css).await.unwrap_or_default();
            if words.iter().all(|word| text.contains(word)) {
                return Ok(());
            }
            let late = tokio::time::Instant::now() >= deadline;
            anyhow::ensure!(!late, "{css} does not say {words:?} but:\n{text}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Waits until there are more of these elements than so many, without loading the page again.
    ///
    /// # Errors
    /// When there are not within 30 seconds.
    pub async fn wait_for_more(&self, css: &str, than: usize) -> Result<usize> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let count = self.count(css).await?;
            if count > than {
                return Ok(count);
            }
            anyhow::ensure!(tokio::time::Instant::now() < deadline, "still {count} of {css}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// How many elements the selector finds.
    ///
    /// # Errors
    /// When there is no page.
    pub async fn count(&self, css: &str) -> Result<usize> {
        Ok(self.client.find_all(Locator::Css(css)).await?.len())
    }

    /// The words of a part of the page, as a person sees them.
    async fn text(&self, css: &str) -> Result<String> {
        Ok(self.client.find(Locator::Css(css)).await?.text().await?)
    }

    /// Keeps what the window shows as a PNG.
    ///
    /// # Errors
    /// When it cannot be taken or written.
    pub async fn screenshot(&self, into: &Path) -> Result<()> {
        let picture = self.client.screenshot().await?;
        anyhow::ensure!(picture.starts_with(b"\x89PNG"), "the screenshot is no PNG");
        if let Some(folder) = into.parent() {
            std::fs::create_dir_all(folder)?;
        }
        Ok(std::fs::write(into, picture)?)
    }

    /// Closes the window.
    ///
    /// # Errors
    /// When the driver has gone before.
    pub async fn close(mut self) -> Result<()> {
        self.client.clone().close().await?;
        self.driver.kill()?;
        self.driver.wait()?;
        Ok(())
    }
}

/// The driver while the window is not open yet: ended when it never opens.
struct Opening {
    driver: Option<Child>,
}

impl Drop for Opening {
    fn drop(&mut self) {
        if let Some(driver) = &mut self.driver {
            let _ = driver.kill();
            let _ = driver.wait();
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
