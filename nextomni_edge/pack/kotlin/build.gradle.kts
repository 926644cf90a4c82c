// A library module of an Android app, see README.md. The Android Gradle plugin compiles Kotlin itself
// from version 9; with an older one add id("org.jetbrains.kotlin.android") to the plugins.
plugins { id("com.android.library") }

android {
    namespace = "nextomni.edge"
    compileSdk = 35
    defaultConfig { minSdk = 26 }
}

dependencies {
    // the version that wrote the graphs; a later one reads them too
    implementation("com.microsoft.onnxruntime:onnxruntime-android:ONNXRUNTIME")
}
