// The JDBC driver against the proxy. Arguments: URL, schema. Prints one word a part that went well.

import java.io.StringReader;
import java.io.StringWriter;
import java.sql.*;
import java.util.*;
import java.util.concurrent.*;
import org.postgresql.PGConnection;
import org.postgresql.PGStatement;

public class JdbcTalk {
    interface Part {
        void run(Connection connection) throws Exception;
    }

    static String url;
    static String schema;

    static Connection connect(String... more) throws SQLException {
        Properties given = new Properties();
        given.setProperty("user", "postgres");
        given.setProperty("currentSchema", schema);
        given.setProperty("connectTimeout", "10");
        given.setProperty("socketTimeout", "20");
        for (int at = 0; at < more.length; at += 2) given.setProperty(more[at], more[at + 1]);
        return DriverManager.getConnection(url, given);
    }

    static void part(String name, Part work, String... more) throws Exception {
        try (Connection connection = connect(more)) {
            work.run(connection);
        } catch (Throwable problem) {
            throw new Exception("part " + name, problem);
        }
        System.out.println(name);
    }

    static void check(boolean isTrue, Object told) {
        if (!isTrue) throw new AssertionError(String.valueOf(told));
    }

    static Object one(Connection connection, String query) throws SQLException {
        try (Statement statement = connection.createStatement();
                ResultSet rows = statement.executeQuery(query)) {
            rows.next();
            return rows.getObject(1);
        }
    }

    static void run(Connection connection, String text) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.execute(text);
        }
    }

    static void expect(String state, Callable<?> work) throws Exception {
        try {
            work.call();
        } catch (SQLException refused) {
            check(state.equals(refused.getSQLState()), refused);
            return;
        }
        throw new AssertionError("no error " + state);
    }

    // After five executions the driver prepares on the server, under a name.
    static void prepared(Connection c) throws Exception {
        try (PreparedStatement plus = c.prepareStatement("SELECT ?::int + 1")) {
            for (int n = 0; n < 30; n++) {
                plus.setInt(1, n);
                try (ResultSet rows = plus.executeQuery()) {
                    rows.next();
                    check(rows.getInt(1) == n + 1, n);
                }
                if (n % 7 == 0) one(c, "SELECT 1");
            }
            check(plus.unwrap(PGStatement.class).isUseServerPrepare(), "not prepared");
        }
    }

    static void batch(Connection c) throws Exception {
        c.setAutoCommit(false);
        String text = "INSERT INTO item VALUES (?, ?)";
        try (PreparedStatement insert =
                c.prepareStatement(text, Statement.RETURN_GENERATED_KEYS)) {
            for (int n = 0; n < 2000; n++) {
                insert.setInt(1, n);
                insert.setString(2, "name " + n);
                insert.addBatch();
            }
            check(insert.executeBatch().length == 2000, "batch");
        }
        c.commit();
        check(one(c, "SELECT count(*) FROM item").equals(2000L), "count");
        try (PreparedStatement again = c.prepareStatement(text)) {
            for (int n = 1999; n < 2002; n++) {
                again.setInt(1, n);
                again.setString(2, "again");
                again.addBatch();
            }
            expect("23505", again::executeBatch);
        }
        c.rollback();
    }

    static void fetchSize(Connection c) throws Exception {
        c.setAutoCommit(false);
        try (PreparedStatement many = c.prepareStatement("SELECT generate_series(1, ?)")) {
            many.setFetchSize(100);
            many.setInt(1, 5000);
            int count = 0;
            try (ResultSet rows = many.executeQuery()) {
                while (rows.next()) {
                    check(rows.getInt(1) == ++count, count);
                    if (count % 1000 == 0) one(c, "SELECT 1"); // between two parts of the portal
                }
            }
            check(count == 5000, count);
        }
        c.commit();
    }

    static void readOnly(Connection c) throws Exception {
        c.setReadOnly(true);
        c.setAutoCommit(false);
        c.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
        check(one(c, "SHOW transaction_read_only").equals("on"), "read only");
        expect("25006", () -> c.createStatement().execute("DELETE FROM item"));
        c.rollback();
        c.setAutoCommit(true);
        c.setReadOnly(false);
        check(one(c, "SHOW transaction_read_only").equals("off"), "read write");
    }

    static void copy(Connection c) throws Exception {
        var copies = c.unwrap(PGConnection.class).getCopyAPI();
        StringBuilder rows = new StringBuilder();
        for (int n = 10000; n < 14000; n++) rows.append(n).append("\tx\n");
        long in = copies.copyIn("COPY item FROM STDIN", new StringReader(rows.toString()));
        check(in == 4000, in);
        StringWriter out = new StringWriter();
        copies.copyOut("COPY (SELECT * FROM item WHERE id >= 10000 ORDER BY id) TO STDOUT", out);
        check(out.toString().contentEquals(rows), "copied");
        var given = copies.copyIn("COPY item FROM STDIN");
        given.cancelCopy();
        check(one(c, "SELECT 1").equals(1), "after a cancelled COPY");
    }

    static void timeout(Connection c) throws Exception {
        try (Statement slow = c.createStatement()) {
            slow.setQueryTimeout(1); // a cancel request of the driver
            expect("57014", () -> slow.executeQuery("SELECT pg_sleep(600)"));
        }
        check(one(c, "SELECT 1").equals(1), "after a cancel");
    }

    // The driver sets savepoints around statements and returns to them.
    static void autosave(Connection c) throws Exception {
        c.setAutoCommit(false);
        for (int n = 0; n < 10; n++) {
            expect("22012", () -> one(c, "SELECT 1/0"));
            check(one(c, "SELECT 1").equals(1), "goes on");
        }
        c.commit();
    }

    static void savepoints(Connection c) throws Exception {
        c.setAutoCommit(false);
        Savepoint mine = c.setSavepoint("mine");
        run(c, "DELETE FROM item");
        c.rollback(mine);
        check(!one(c, "SELECT count(*) FROM item").equals(0L), "rows are back");
        c.commit();
    }

    static void metadata(Connection c) throws Exception {
        Set<String> columns = new TreeSet<>();
        try (ResultSet rows = c.getMetaData().getColumns(null, schema, "item", null)) {
            while (rows.next()) columns.add(rows.getString("COLUMN_NAME"));
        }
        check(columns.equals(Set.of("id", "name")), columns);
        check(c.isValid(5), "valid");
    }

    static void notifications(Connection c) throws Exception {
        run(c, "LISTEN " + schema);
        try (Connection other = connect()) {
            run(other, "NOTIFY " + schema + ", 'hello'");
        }
        var heard = c.unwrap(PGConnection.class).getNotifications(10_000);
        check(heard != null && heard[0].getParameter().equals("hello"), "notification");
        run(c, "UNLISTEN *");
    }

    static void many(Connection c) throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(8);
        List<Future<Integer>> sums = new ArrayList<>();
        for (int n = 0; n < 8; n++) {
            int own = n;
            sums.add(threads.submit(() -> sum(own)));
        }
        for (int n = 0; n < 8; n++) check(sums.get(n).get() == 100 * n, n);
        threads.shutdown();
    }

    static int sum(int own) throws SQLException {
        int sum = 0;
        try (Connection c = connect("prepareThreshold", "1");
                PreparedStatement echo = c.prepareStatement("SELECT ?::int")) {
            for (int turn = 0; turn < 100; turn++) {
                echo.setInt(1, own);
                try (ResultSet rows = echo.executeQuery()) {
                    rows.next();
                    sum += rows.getInt(1);
                }
            }
        }
        return sum;
    }

    public static void main(String[] arguments) throws Exception {
        url = arguments[0];
        schema = arguments[1];
        part("tables", c -> run(c, "CREATE TABLE item (id int PRIMARY KEY, name text)"));
        part("prepared", JdbcTalk::prepared);
        part("batch", JdbcTalk::batch);
        part("fetchSize", JdbcTalk::fetchSize);
        part("readOnly", JdbcTalk::readOnly);
        part("copy", JdbcTalk::copy);
        part("timeout", JdbcTalk::timeout);
        part("autosave", JdbcTalk::autosave, "autosave", "always");
        part("savepoints", JdbcTalk::savepoints);
        part("simple", c -> check(one(c, "SELECT 1").equals(1), 1), "preferQueryMode", "simple");
        part("metadata", JdbcTalk::metadata);
        part("notifications", JdbcTalk::notifications);
        part("many", JdbcTalk::many);
    }
}
